// The strip: renews itself every five seconds, and says so when the console no longer answers.
"use strict";
const strip = document.getElementById("strip");
let answered = Date.now();

async function renew() {
  try {
    const answer = await fetch(strip.dataset.from, { headers: { accept: "text/html", "soc-renewal": "1" }, redirect: "error", signal: AbortSignal.timeout(10000) });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) throw new Error(answer.statusText);
    strip.innerHTML = await answer.text();
    answered = Date.now();
  } catch {
    const since = new Date(answered).toLocaleTimeString(document.documentElement.lang, { hour12: false });
    const said = document.createElement("div");
    said.className = "now failing";
    said.dataset.status = "silent";
    said.append(Object.assign(document.createElement("b"), { textContent: strip.dataset.silent.replace("{at}", since) }));
    if (Date.now() - answered > 10000) strip.replaceChildren(said);
  }
  setTimeout(renew, 5000);
}
setTimeout(renew, 5000);
