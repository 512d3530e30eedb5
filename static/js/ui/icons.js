// Icons: 24-unit strokes, drawn for this app. They are decoration; words stand beside or in a label.
import { html } from "../lib.js";

/** @type {Record<string, string>} */
const paths = {
  "seal": "M12 3 21 12 12 21 3 12ZM12 9.5v5M9.5 12h5",
  "plus": "M12 5v14M5 12h14",
  "search": "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14ZM16 16l4.5 4.5",
  "panel": "M4 5h16v14H4ZM9.5 5v14",
  "more": "M5.5 12h.01M12 12h.01M18.5 12h.01",
  "pin": "M9 4h6l-1 6 3 3H7l3-3ZM12 13v7",
  "pencil": "M4 20l1-4L16 5l3 3L8 19ZM14 7l3 3",
  "trash": "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  "copy": "M9 9h11v11H9ZM5 15H4V4h11v1",
  "check": "M5 12.5l4.5 4.5L19 7.5",
  "again": "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L20 9.5M20 4.5v5h-5",
  "send": "M12 19V5M6 11l6-6 6 6",
  "stop": "M7 7h10v10H7Z",
  "down": "M12 5v14M6 13l6 6 6-6",
  "chevron": "M7 10l5 5 5-5",
  "lock": "M6 11h12v9H6ZM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  "cpu": "M7 7h10v10H7ZM10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4",
  "shield": "M12 3l7.5 3v5.5c0 4.5-3 7.8-7.5 9.5-4.5-1.7-7.5-5-7.5-9.5V6Z",
  "eye-off": "M4 4l16 16M9.9 5.9A9 9 0 0 1 12 5.6c5 0 8.4 4.4 9 6.4-.3.9-1.1 2.3-2.5 3.6M6.6 7.6C4.5 9 3.300 11 3 12c.6 2 4 6.400 9 6.400 1.700 0 3.200-.5 4.500-1.200",
  "key": "M8.500 11.500a4 4 0 1 0 0 .01M12.300 11.500H21v3.500M17.500 11.500v3",
  "person": "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM4.500 20.500c.8-3.800 3.700-5.500 7.500-5.500s6.700 1.700 7.500 5.500",
  "people": "M9 5a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7ZM2.500 20c.6-3.500 3.100-5 6.500-5s5.900 1.500 6.500 5M15.500 5.300a3.500 3.500 0 0 1 0 6.400M18 15.400c2 .7 3.200 2.200 3.500 4.600",
  "gauge": "M4 17a8.500 8.500 0 1 1 16 0M12 15l4-5",
  "chart": "M4 20h16M7.500 16v-5M12 16V6M16.500 16v-8",
  "list": "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  "bell": "M6 16V11a6 6 0 0 1 12 0v5l1.500 2h-15ZM10 21h4",
  "scales": "M12 4v16M7 20h10M5 7h14M5 7l-3 7h6ZM19 7l-3 7h6Z",
  "grid": "M4 4h7v7H4ZM13 4h7v7h-7ZM4 13h7v7H4ZM13 13h7v7h-7Z",
  "out": "M10 5H5v14h5M14 8l4 4-4 4M9 12h9",
  "warn": "M12 4l9 16H3ZM12 10v4.500M12 17.200v.01",
  "info": "M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17ZM12 11v5M12 8v.01",
  "cross": "M6 6l12 12M18 6L6 18",
  "clip": "M20 11.500l-8.200 8.200a5 5 0 0 1-7.100-7.100l8.500-8.500a3.300 3.300 0 0 1 4.700 4.700l-8.500 8.500a1.700 1.700 0 0 1-2.400-2.400l7.800-7.800",
  "file": "M6 3h8l4 4v14H6ZM14 3v4h4",
  "dash": "M7 12h10",
};

/** @param {{ name: string, size?: "small" }} props */
export function Icon({ name, size }) {
  return html`<svg class=${`icon ${size ?? ""}`} viewBox="0 0 24 24" fill="none" stroke="currentColor"
    stroke-width=${name === "more" ? 2.6 : 1.7} stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
    <path d=${paths[name]} /></svg>`;
}
