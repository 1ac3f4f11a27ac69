// Dialogs: modals with a trapped focus, confirmations, large images.

import { focusKeeper, h, icon } from "./dom.js";
import { textObject } from "./mrkdwn.js";

const FOCUSABLE = "button:not([disabled]), input, select, textarea, a[href], [tabindex='0']";

// Open a dialog: focus stays inside, Escape calls `onescape`, and focus returns to its opener.
export function dialog({ label, className = "", onescape, content }) {
  const back = focusKeeper();
  const box = h("div", { class: `dialog ${className}`, role: "dialog", "aria-modal": "true", "aria-label": label }, content);
  const shade = h("div", { class: "shade" }, box);
  shade.addEventListener("mousedown", (event) => event.target === shade && className.includes("light") && onescape?.());
  shade.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      onescape?.();
    }
    if (event.key === "Tab") trap(event, box);
  });
  document.getElementById("layer").append(shade);
  behind(true);
  const first = box.querySelector("input, select, textarea") || box.querySelector(FOCUSABLE);
  first?.focus();
  return {
    box,
    close: () => {
      shade.remove();
      behind(Boolean(document.querySelector(".shade")));
      back();
    },
  };
}

// What lies behind a dialog takes neither focus nor clicks.
function behind(inert) {
  for (const part of document.querySelectorAll("body > .skip, body > .top, body > .frame")) part.inert = inert;
}

function trap(event, box) {
  const all = [...box.querySelectorAll(FOCUSABLE)].filter((one) => one.offsetParent !== null);
  const [first, last] = [all[0], all[all.length - 1]];
  if (event.shiftKey && document.activeElement === first) {
    event.preventDefault();
    last.focus();
  } else if (!event.shiftKey && document.activeElement === last) {
    event.preventDefault();
    first.focus();
  }
}

// Block Kit's confirm object; resolves to true if the person confirms.
export function sure(confirm) {
  return new Promise((resolve) => {
    const answer = (yes) => () => {
      open.close();
      resolve(yes);
    };
    const go = h("button", { class: `button filled ${confirm.style || "primary"}`, type: "button", onclick: answer(true) },
      textObject(confirm.confirm || { text: "Yes", type: "plain_text" }));
    const content = [
      h("h2", { class: "dialog-title" }, textObject(confirm.title)),
      h("div", { class: "dialog-body" }, textObject(confirm.text)),
      h("div", { class: "dialog-foot" }, [
        h("button", { class: "button", type: "button", onclick: answer(false) },
          textObject(confirm.deny || { text: "Cancel", type: "plain_text" })),
        go,
      ]),
    ];
    const open = dialog({ label: confirm.title?.text || "Are you sure?", className: "small", content, onescape: answer(false) });
    go.focus();
  });
}

export function lightbox(source, alt) {
  const close = h("button", { class: "icon-button", "aria-label": "Close", type: "button", onclick: () => open.close() }, icon("close"));
  const open = dialog({ label: alt, className: "light", onescape: () => open.close(),
    content: [h("div", { class: "light-head" }, h("span", {}, alt), close), h("img", { src: source, alt })] });
  close.focus();
}

