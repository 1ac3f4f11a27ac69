// The message box, with completion of slash commands and people.

import { post, upload } from "./api.js";
import { fill, h, icon, toast } from "./dom.js";
import { globalMenu } from "./shortcuts.js";
import { channel, state } from "./state.js";

const BUILT_IN = [{ usage: "/invite @retention", help: "Add the app to this channel" }];

// Fill a form with a message box; `thread()` returns the thread to answer.
export function composer(form, { thread = () => null, id = "composer-input", label }) {
  const list = h("ul", { class: "complete", role: "listbox", id: `${id}-list`, "aria-label": "Commands", hidden: true });
  const box = h("textarea", {
    id, rows: "1", "aria-label": label(), placeholder: label(), autocomplete: "off", spellcheck: "true", role: "combobox",
    "aria-expanded": "false", "aria-controls": `${id}-list`, "aria-autocomplete": "list",
  });
  const send = h("button", { class: "send", type: "submit", "aria-label": "Send now", title: "Send now" }, icon("send"));
  const slash = h("button", { class: "icon-button", type: "button", title: "Run a command", "aria-label": "Run a command",
    onclick: () => { box.value = "/retention "; box.focus(); changed(); } }, h("span", { class: "slash" }, "/"));
  const shortcuts = h("button", { class: "icon-button", type: "button", title: "Shortcuts", "aria-label": "Shortcuts", "aria-haspopup": "menu",
    onclick: () => globalMenu(shortcuts) }, icon("bolt"));
  const picker = h("input", { type: "file", hidden: true, "aria-label": "File", onchange: () => share(picker) });
  const attach = h("button", { class: "icon-button", type: "button", title: "Attach a file", "aria-label": "Attach a file",
    onclick: () => picker.click() }, icon("clip"));
  fill(form, list, h("div", { class: "composer-box" }, box, h("div", { class: "composer-bar" }, !thread() && slash, !thread() && attach, picker, shortcuts, h("span", { class: "grow" }), send)));

  let active = -1;
  const close = () => {
    list.hidden = true;
    active = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  };
  const choose = (text) => {
    box.value = text;
    close();
    changed();
    box.focus();
  };
  const mark = (number) => {
    const items = [...list.children];
    active = (number + items.length) % items.length;
    items.forEach((item, place) => item.setAttribute("aria-selected", String(place === active)));
    items[active].scrollIntoView({ block: "nearest" });
    box.setAttribute("aria-activedescendant", items[active].id);
  };
  const offer = () => {
    const people = mentions(box.value);
    const found = people || (thread() ? [] : suggestions(box.value));
    if (!found.length) return close();
    fill(list, found.map((one, number) => h("li", {
      id: `${id}-option-${number}`, role: "option", "aria-selected": "false", data: { insert: one.insert },
      onmousedown: (event) => { event.preventDefault(); choose(one.insert); },
    }, h("span", { class: "complete-usage" }, one.usage), h("span", { class: "complete-help" }, one.help))));
    list.hidden = false;
    active = -1;
    box.setAttribute("aria-expanded", "true");
    if (people) mark(0); // Enter takes the person; it would send a bare "@ret" otherwise
  };
  const changed = () => {
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, 200)}px`;
    form.classList.toggle("filled", Boolean(box.value.trim()));
    if (!thread()) state.drafts.set(state.current, box.value);
    offer();
  };

  box.addEventListener("input", changed);
  box.addEventListener("blur", close);
  box.addEventListener("keydown", (event) => {
    const offered = !list.hidden;
    if (offered && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      mark(active + (event.key === "ArrowDown" ? 1 : active < 0 ? 0 : -1));
    } else if (offered && event.key === "Tab" && !event.shiftKey) {
      event.preventDefault();
      choose(list.children[Math.max(active, 0)].dataset.insert);
    } else if (offered && event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (offered && active >= 0) choose(list.children[active].dataset.insert);
      else form.requestSubmit();
    }
  });
  form.onsubmit = async (event) => {
    event.preventDefault();
    const text = box.value.trim();
    if (!text) return;
    box.value = "";
    changed();
    close();
    try {
      await deliver(text, thread());
    } catch (error) {
      box.value = text;
      toast(error.message);
    }
  };
  return {
    refresh: () => {
      box.placeholder = label();
      box.setAttribute("aria-label", label());
      box.value = thread() ? "" : state.drafts.get(state.current) || "";
      changed();
      close();
    },
    focus: () => box.focus(),
  };
}

async function deliver(text, thread) {
  const where = { user: state.me.id, channel: state.current, text };
  if (text.startsWith("/") && thread) {
    toast("/ commands are not available in threads; Slack has it so.");
    return;
  }
  await (text.startsWith("/") ? post("/commands", where) : post("/messages", { ...where, thread_ts: thread }));
}

async function share(picker) {
  const file = picker.files[0];
  if (!file) return;
  try {
    await upload("/files", { user: state.me.id, channel: state.current }, file);
  } catch (error) {
    toast(error.message);
  }
  picker.value = "";
}

// Suggest people where the last word starts with @; null elsewhere.
function mentions(text) {
  const match = /(^|\s)@([\w.-]*(?: \w*)?)$/.exec(text);
  if (!match || text.startsWith("/")) return null;
  const typed = match[2].toLowerCase();
  const before = text.slice(0, text.length - typed.length);
  const isChosen = (one) => typed === `${one.handle} `;
  const fits = (one) => !isChosen(one) && (one.handle.startsWith(typed) || one.name.toLowerCase().startsWith(typed));
  return [...state.people.values()]
    .filter((one) => one.id !== "USLACKBOT" && fits(one))
    .sort((one, other) => Number(other.is_bot) - Number(one.is_bot))
    .map((one) => ({ usage: `@${one.handle}`, help: one.name, insert: `${before}${one.handle} ` }));
}

// Suggest commands that match any of the typed words.
function suggestions(text) {
  if (!text.startsWith("/")) return [];
  const known = [...state.commands, ...(channel()?.im ? [] : BUILT_IN)];
  const typed = text.toLowerCase().trimEnd();
  const insert = (usage) => usage.split(/ [[<{]| [A-Z]{2,}| --/)[0].trimEnd();
  return known
    .map((one) => ({ ...one, insert: `${insert(one.usage)}${one.usage === insert(one.usage) ? "" : " "}` }))
    .filter((one) => one.insert.trimEnd().startsWith(typed) || typed.startsWith(`${one.insert.trimEnd()} `))
    .slice(0, 12);
}
