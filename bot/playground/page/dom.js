// Helpers to build the page. Text is always set as text, so a message cannot inject markup.

export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") node.className = value;
    else if (key === "style") for (const [name, one] of Object.entries(value)) node.style.setProperty(name, one);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(node.dataset, value);
    else if (key in node && typeof value !== "string") node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  add(node, children);
  return node;
}

export function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === "") continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

export function fill(node, ...children) {
  node.replaceChildren();
  return add(node, children);
}

const PATHS = {
  close: "M5 5l10 10M15 5L5 15",
  thread: "M4 4h12v9H9l-4 3v-3H4z",
  eye: "M2 10s3-5 8-5 8 5 8 5-3 5-8 5-8-5-8-5zM10 8a2 2 0 1 0 .01 0z",
  down: "M5 8l5 5 5-5",
  right: "M8 5l5 5-5 5",
  lock: "M5 9h10v8H5zM7 9V6.5a3 3 0 0 1 6 0V9",
  download: "M10 3v9M6 9l4 4 4-4M4 16h12",
  send: "M3 3l14 7-14 7 2.2-6L12 10 5.2 9z",
  people: "M7 9a3 3 0 1 0-.01 0zM2 16c0-3 2-5 5-5s5 2 5 5M13 9a2.5 2.5 0 1 0-1-4.8M14 11c2.3 .3 4 2.2 4 5",
  bolt: "M11 2L4 11h5l-1 7 8-10h-5z",
  dots: "M10 5v.01M10 10v.01M10 15v.01",
  warn: "M10 3l8 14H2zM10 8v4M10 14.5v.01",
  file: "M5 2h7l4 4v12H5zM12 2v4h4",
  clip: "M15 9l-6 6a3.5 3.5 0 0 1-5-5l7-7a2.3 2.3 0 0 1 3.3 3.3L7.5 13a1 1 0 0 1-1.5-1.5L12 5.5",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

export function avatar(person, size = 36) {
  const style = { "--size": `${size}px` };
  if (person.id === "U0BOT") return h("img", { class: "avatar", src: "/page/bot.svg", alt: "", style });
  const initials = person.name.split(" ").map((part) => part[0]).slice(0, 2).join("");
  return h("span", { class: "avatar", style: { ...style, "--colour": person.colour }, "aria-hidden": "true" }, initials);
}

// Move focus among the items of a menu or of tabs.
export function arrows(event, items) {
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  const place = { Home: 0, End: items.length - 1 }[event.key] ?? items.indexOf(document.activeElement) + step;
  if (Number.isNaN(place) || !items.length) return;
  event.preventDefault();
  items[(place + items.length) % items.length].focus();
}

// Return a function that focuses what has focus now, or what took its place meanwhile.
export function focusKeeper() {
  const before = document.activeElement;
  const ts = before?.closest("article")?.dataset.ts;
  const action = before?.dataset.actionId;
  return () => {
    const near = ts ? [...document.querySelectorAll(`article[data-ts="${ts}"]`)] : [...document.querySelectorAll(".home")];
    const twin = near.flatMap((one) => [...one.querySelectorAll("[data-action-id]")]).find((one) => one.dataset.actionId === action);
    const next = before?.isConnected && before !== document.body ? before : (action && twin) || near[0];
    (next?.matches("button, a, input, select, textarea, [tabindex]") ? next : document.getElementById("composer-input"))?.focus({ preventScroll: Boolean(twin) });
  };
}

let toastTimer;
export function toast(text) {
  const place = document.getElementById("toasts");
  fill(place, h("div", { class: "toast" }, icon("warn"), text));
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => place.replaceChildren(), 7000);
}

// A menu or list that closes on Escape, on a click elsewhere, or after a choice. Arrow keys move in
// it, and focus returns to its opener.
export function popover(anchor, content, { onclose } = {}) {
  document.querySelector("#layer > .popover")?.close?.();
  const box = h("div", { class: "popover floating" }, content);
  document.getElementById("layer").append(box);
  const place = anchor.getBoundingClientRect();
  const below = place.bottom + box.offsetHeight + 8 < innerHeight;
  box.style.left = `${Math.max(8, Math.min(place.left, innerWidth - box.offsetWidth - 8))}px`;
  box.style.top = below ? `${place.bottom + 4}px` : `${Math.max(8, place.top - box.offsetHeight - 4)}px`;
  const outside = (event) => !box.contains(event.target) && !anchor.contains(event.target) && box.close();
  const keys = (event) => {
    if (event.key === "Escape" || event.key === "Tab") {
      event.stopPropagation();
      if (event.key === "Escape") event.preventDefault();
      box.close();
    }
    arrows(event, [...box.querySelectorAll("[role=menuitem]")]);
  };
  box.close = () => {
    if (box.contains(document.activeElement)) anchor.focus();
    box.remove();
    document.removeEventListener("mousedown", outside);
    onclose?.();
  };
  box.addEventListener("keydown", keys);
  document.addEventListener("mousedown", outside);
  return box;
}
