// What the app uses of this library, for the type check.
type Ending = void | undefined | (() => void);
export function useEffect(run: () => Ending, inputs?: readonly unknown[]): void;
export function useLayoutEffect(run: () => Ending, inputs?: readonly unknown[]): void;
export function useMemo<T>(make: () => T, inputs?: readonly unknown[]): T;
export function useRef<T>(initial: T): { current: T };
export function useState<T>(initial: T | (() => T)): [T, (next: T | ((before: T) => T)) => void];
export function useId(): string;
