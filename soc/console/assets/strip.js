// The strip: renews itself every five seconds, and says so when the console no longer answers.
"use strict";
{
  const strip = document.getElementById("strip");
  let answered = Date.now();
  renewing(strip, 5000, (text) => {
    strip.innerHTML = text;
    answered = Date.now();
    return 5000;
  }, () => {
    const since = new Date(answered).toLocaleTimeString(document.documentElement.lang, { hour12: false });
    const said = document.createElement("div");
    said.className = "now failing";
    said.dataset.status = "silent";
    said.append(Object.assign(document.createElement("b"), { textContent: strip.dataset.silent.replace("{at}", since) }));
    if (Date.now() - answered > 10000) strip.replaceChildren(said);
    return 5000;
  });
}
