// State of the page.

export const state = {
  me: null, // a person
  people: new Map(),
  channels: [],
  commands: [],
  shortcuts: [],
  current: null, // a channel id
  tab: "messages", // or "home", in the app's direct message
  messages: new Map(), // channel id → Map(ts → message)
  thread: null, // ts
  view: null,
  home: null,
  clock: null,
  zone: "America/New_York",
  shop: "", // path of the fake shop, in the demo
  mailbox: "", // path of the page of received e-mails, in the demo
  drafts: new Map(),
};

export const person = (id) =>
  state.people.get(id) || { id, name: id, handle: id, colour: "#616061", is_bot: false };
export const channel = (id = state.current) => state.channels.find((one) => one.id === id);
export const messagesOf = (id = state.current) => {
  if (!state.messages.has(id)) state.messages.set(id, new Map());
  return state.messages.get(id);
};
export const ordered = (id) => [...messagesOf(id).values()].sort((a, b) => (a.ts < b.ts ? -1 : 1));
export const isReply = (message) => message.thread_ts && message.thread_ts !== message.ts;

const format = (options) => new Intl.DateTimeFormat("en-US", { timeZone: state.zone, ...options });
export const clockTime = (at) => format({ hour: "numeric", minute: "2-digit" }).format(new Date(at));
export const dayKey = (at) => format({ dateStyle: "short" }).format(new Date(at));
export const dayName = (at) => {
  const date = format({ weekday: "long", month: "long", day: "numeric" }).format(new Date(at));
  const day = Number(format({ day: "numeric" }).format(new Date(at)));
  const suffix = day % 100 > 10 && day % 100 < 14 ? "th" : ["th", "st", "nd", "rd"][day % 10] || "th";
  return `${date}${suffix}`;
};
export const fullTime = (at) => format({ dateStyle: "full", timeStyle: "short" }).format(new Date(at));
export const formatted = (at, options) => format(options).format(new Date(at));
