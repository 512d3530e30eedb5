// The libraries, by one name each. Everything else imports from here, never from vendor/ directly.
import { h, render, Fragment } from "../vendor/preact.js";
import { useEffect, useLayoutEffect, useMemo, useRef, useState, useId } from "../vendor/hooks.js";
import { signal, computed, effect, batch } from "../vendor/signals.js";
import htm from "../vendor/htm.js";

export const html = htm.bind(h);
export {
  render, Fragment, useEffect, useLayoutEffect, useMemo, useRef, useState, useId,
  signal, computed, effect, batch,
};
