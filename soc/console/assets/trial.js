// Try it now: shows the alert of the pasted line without a reload, and copies the line.
"use strict";
{
  const trial = document.getElementById("trial");
  renewing(trial, 500, (text) => {
    trial.innerHTML = text;
    return trial.querySelector('[data-state="judged"]') ? 0 : 500;
  });
  copying();
}
