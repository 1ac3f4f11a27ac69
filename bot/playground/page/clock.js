// The time machine: show and advance business time, and report progress.

import { post } from "./api.js";
import { fill, h, toast } from "./dom.js";
import { formatted, state } from "./state.js";

const at = (id) => document.getElementById(id);
let began = null;
let asked = false;

// Handle the stream's events. The answer of an advance reports its end. A late event belongs to
// the advance before, and would allow another advance too early.
export function hearClock(clock) {
  if (!asked || clock?.stepping) showClock(clock);
}

function showClock(clock) {
  if (!clock) return;
  state.clock = clock;
  at("clock").hidden = false;
  const now = new Date(clock.now);
  fill(at("clock-now"), formatted(now, { weekday: "short", day: "numeric", month: "short" }),
    h("span", { class: "clock-year" }, `, ${formatted(now, { year: "numeric" })}`), " · ",
    formatted(now, { hour: "numeric", minute: "2-digit" }));
  const moving = clock.stepping;
  for (const button of document.querySelectorAll("#clock button")) button.disabled = moving;
  at("clock").classList.toggle("moving", moving);
  at("clock-bar").hidden = !moving;
  if (moving && clock.target) {
    began ??= now;
    const span = new Date(clock.target) - began;
    at("clock-bar").value = span > 0 ? Math.min(1, (now - began) / span) : 0;
  }
  // After the arrival, the work of its moment goes on.
  const what = clock.what || (moving && "getting ready");
  fill(at("clock-what"), what ? `${what} …` : "");
  if (!moving) began = null;
}

export function startClock() {
  for (const button of document.querySelectorAll("#clock button")) {
    button.addEventListener("click", async () => {
      showClock({ ...state.clock, stepping: true, what: "looking for what is due" });
      asked = true;
      try {
        const journey = await post("/clock", { advance: button.dataset.span, wait: false });
        showClock({ ...journey, stepping: false });
      } catch (error) {
        toast(error.message);
        showClock({ ...state.clock, stepping: false });
      } finally {
        asked = false;
        if (document.activeElement === document.body) button.focus(); // it was disabled meanwhile
      }
    });
  }
}
