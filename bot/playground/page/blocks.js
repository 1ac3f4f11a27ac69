// Render Block Kit as Slack does. `act(element, block, value)` sends a press or a choice and
// resolves to Slack's error.

import { add, h, icon, popover } from "./dom.js";
import { control, optionsOf } from "./inputs.js";
import { plainLines, richText, textObject } from "./mrkdwn.js";
import { lightbox, sure } from "./dialogs.js";

export function blocks(list, act) {
  return list.map((block) => {
    const render = RENDER[block.type];
    return render
      ? h("div", { class: `block block-${block.type}`, data: { blockId: block.block_id } }, render(block, act))
      : h("div", { class: "block unknown" }, "This content can’t be displayed here.");
  });
}

const RENDER = {
  section: (block, act) => [
    h("div", { class: "section-body" }, [
      block.text && h("div", { class: "section-text" }, textObject(block.text)),
      block.fields && h("div", { class: "fields" }, block.fields.map((field) => h("div", { class: "field" }, textObject(field)))),
    ]),
    block.accessory && h("div", { class: "accessory" }, element(block.accessory, block, act)),
  ],
  header: (block) => h("h3", { class: "block-header-text" }, textObject(block.text)),
  divider: () => h("hr"),
  context: (block) =>
    block.elements.map((one) =>
      one.type === "image" ? image(one, "context-image") : h("span", { class: "context-text" }, textObject(one)),
    ),
  actions: (block, act) => block.elements.map((one) => element(one, block, act)),
  image: (block) => [
    block.title && h("div", { class: "image-title" }, textObject(block.title)),
    image(block, "block-picture"),
  ],
  rich_text: (block) => richText(block),
  markdown: (block) => h("div", {}, plainLines(block.text)),
  table: (block) => table(block),
  alert: (block) => h("div", { class: `alert ${block.level || ""}`, role: "alert" }, textObject(block.text)),
  input: (block, act) => input(block, act),
};

// ---------------------------------------------------------------- images and tables

function image(node, className) {
  const source = node.slack_file ? `/playground/files/${node.slack_file.id}` : node.image_url;
  const picture = h("img", { class: className, src: source, alt: node.alt_text, title: node.alt_text });
  if (className !== "block-picture") return picture;
  return h("button", { class: "picture-button", "aria-label": `Open picture: ${node.alt_text}`, type: "button",
    onclick: () => lightbox(source, node.alt_text) }, picture);
}

function table(block) {
  const settings = block.column_settings || [];
  const cell = (one, tag, column) => {
    const inner = one.type === "rich_text" ? richText(one) : plainLines(String(one.text ?? one.value ?? ""));
    const align = settings[column]?.align || "left";
    return h(tag, { class: `align-${align}${settings[column]?.is_wrapped ? " wrapped" : ""}`, scope: tag === "th" && "col" }, inner);
  };
  const [head, ...rows] = block.rows;
  return h("div", { class: "table-scroll", tabindex: "0", role: "group", "aria-label": "Table" },
    h("table", {}, [
      h("thead", {}, h("tr", {}, head.map((one, column) => cell(one, "th", column)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((one, column) => cell(one, "td", column))))),
    ]));
}

// ---------------------------------------------------------------- interactive elements

function element(one, block, act) {
  if (one.type === "image") return image(one, "accessory-image");
  if (one.type === "button") return button(one, block, act);
  if (one.type === "overflow") return overflow(one, block, act);
  const send = async (value) => {
    if (one.confirm && !(await sure(one.confirm))) return;
    report(holder, await act(one, block, value));
  };
  const holder = h("span", { class: "element" }, control(one, { onchange: send, compact: true }));
  return holder;
}

function button(one, block, act) {
  const node = h("button", {
    class: `button ${one.style || ""}`, type: "button", "aria-label": one.accessibility_label,
    data: { actionId: one.action_id, value: one.value || "" },
    onclick: async () => {
      if (one.url && /^https?:/.test(one.url)) window.open(one.url, "_blank", "noopener");
      if (one.confirm && !(await sure(one.confirm))) return;
      node.classList.add("busy");
      node.setAttribute("aria-busy", "true");
      const error = await act(one, block, one.value);
      node.classList.remove("busy");
      node.removeAttribute("aria-busy");
      report(node, error);
    },
  }, textObject(one.text));
  return node;
}

function report(node, error) {
  node.parentElement?.querySelector(".press-error")?.remove();
  if (error) node.after(h("span", { class: "press-error", role: "alert", title: error }, icon("warn"), ` ${error}`));
}

function overflow(one, block, act) {
  const node = h("button", { class: "button overflow", type: "button", "aria-label": "More actions", "aria-haspopup": "menu",
    onclick: () => {
      const items = optionsOf(one).map((option) =>
        h("button", { class: "menu-item", role: "menuitem", type: "button",
          onclick: async () => {
            box.close();
            if (one.confirm && !(await sure(one.confirm))) return;
            report(node, await act(one, block, option.value));
          } }, textObject(option.text)));
      const box = popover(node, h("div", { role: "menu" }, items));
      items[0]?.focus();
    } }, icon("dots"));
  return node;
}

// ---------------------------------------------------------------- inputs (modals, mostly)

function input(block, act) {
  const id = `in-${block.block_id}`.replace(/[^\w-]/g, "_");
  const onchange = block.dispatch_action ? (value) => act(block.element, block, value) : undefined;
  const made = control(block.element, { id, onchange, describedBy: `${id}-hint ${id}-error` });
  const label = h("label", { class: "input-label", for: id }, [
    textObject(block.label),
    block.optional && h("span", { class: "optional" }, " (optional)"),
  ]);
  return add(document.createDocumentFragment(), [
    label, made,
    h("div", { class: "input-error", id: `${id}-error`, role: "alert" }),
    block.hint && h("div", { class: "input-hint", id: `${id}-hint` }, textObject(block.hint)),
  ]);
}

