// The app's modal: render the top view, submit it, show its errors.

import { get, post } from "./api.js";
import { blocks } from "./blocks.js";
import { dialog } from "./dialogs.js";
import { fill, h, icon, toast } from "./dom.js";
import { keepTyped, values } from "./inputs.js";
import { textObject } from "./mrkdwn.js";
import { state } from "./state.js";

let open = null; // { id, close, body }

export async function refreshView() {
  showView(await get("/views", { user: state.me.id }));
}

export function showView(view) {
  state.view = view;
  if (!view) {
    open?.close();
    open = null;
  } else if (open?.id === view.id) {
    update(view);
  } else {
    open?.close();
    open = build(view);
  }
}

function update(view) {
  const fresh = content(view);
  const before = open.box.cloneNode(false);
  const scrolled = open.box.querySelector(".modal-body").scrollTop;
  const focused = placeOf(document.activeElement?.closest("[data-input]"));
  before.append(...open.box.childNodes);
  fill(open.box, fresh);
  keepTyped(before, open.box);
  const again = focused && [...open.box.querySelectorAll("[data-input]")].find((one) => placeOf(one) === focused);
  (again || open.box.querySelector("input, select, textarea, button"))?.focus({ preventScroll: Boolean(again) });
  open.box.querySelector(".modal-body").scrollTop = scrolled;
}

const placeOf = (input) => input && `${input.closest("[data-block-id]")?.dataset.blockId} ${input.dataset.actionId}`;

function build(view) {
  const made = dialog({ label: view.title.text, className: "modal", content: content(view), onescape: close });
  made.id = view.id;
  return made;
}

function content(view) {
  const act = async (element, block, value) => {
    try {
      const form = { user: state.me.id, view_id: view.id, block_id: block.block_id, action_id: element.action_id, value,
        state: JSON.stringify(values(open.box)) };
      const answer = await post("/actions", form);
      return answer.status === 200 ? null : answer.status === 504 ? "operation_timeout" : "dispatch_failed";
    } catch (error) {
      return error.message;
    }
  };
  const body = h("div", { class: "modal-body" }, blocks(view.blocks, act));
  const form = h("form", { class: "modal-form", novalidate: true, onsubmit: submit, oninput: forgive }, [
    h("header", { class: "modal-head" }, [
      h("img", { class: "modal-app", src: "/page/bot.svg", alt: "" }),
      h("h2", {}, textObject(view.title)),
      h("button", { class: "icon-button", type: "button", "aria-label": "Close", onclick: close }, icon("close")),
    ]),
    body,
    h("div", { class: "modal-error", role: "alert" }),
    h("footer", { class: "modal-foot" }, [
      h("button", { class: "button", type: "button", onclick: close }, view.close ? textObject(view.close) : "Cancel"),
      view.submit && h("button", { class: "button filled primary", type: "submit" }, textObject(view.submit)),
    ]),
  ]);
  return form;
}

// Remove an input's error while it is edited.
function forgive(event) {
  const block = event.target.closest(".invalid");
  block?.classList.remove("invalid");
  block?.querySelector(".input-error")?.replaceChildren();
}

async function submit(event) {
  event.preventDefault();
  showErrors({});
  if (open.box.querySelector("[type=submit]")?.disabled) return;
  showBusy(true);
  try {
    await post("/views", { user: state.me.id, values: JSON.stringify(values(open.box)), action: "submit" });
  } catch (error) {
    toast(error.message);
  }
  showBusy(false);
}

function showBusy(busy) {
  const button = open?.box.querySelector("[type=submit]");
  button?.classList.toggle("busy", busy);
  if (button) button.disabled = busy;
}

async function close() {
  try {
    await post("/views", { user: state.me.id, action: "close" });
  } catch {
    showView(null); // already closed
  }
}

export function showErrors(errors) {
  if (!open) return;
  open.box.querySelectorAll(".input-error").forEach((node) => node.replaceChildren());
  open.box.querySelectorAll(".invalid").forEach((node) => node.classList.remove("invalid"));
  fill(open.box.querySelector(".modal-error"), errors[""] || "");
  // Errors may arrive before the answer to the submission, and Enter must submit again.
  if (Object.keys(errors).length) showBusy(false);
  let first = null;
  for (const [blockId, text] of Object.entries(errors)) {
    const block = [...open.box.querySelectorAll("[data-block-id]")].find((one) => one.dataset.blockId === blockId);
    if (!block) continue;
    block.classList.add("invalid");
    fill(block.querySelector(".input-error") || h("div"), icon("warn"), ` ${text}`);
    first ||= block.querySelector("input, select, textarea");
  }
  first?.focus();
}
