// The time slider of the page of past moments: says while it is moved which time it is at.

import { moment } from "./zone.js";

const slider = document.querySelector("#past-at");
const told = document.querySelector("#past-time");

slider?.addEventListener("input", () => {
  told.value = moment(Number(slider.value));
});
slider?.addEventListener("change", () => slider.form.requestSubmit());
