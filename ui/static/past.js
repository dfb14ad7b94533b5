// The time slider of the page of past moments: shows its time while it is moved.

import { moment } from "./zone.js";

const slider = document.querySelector("#past-at");
const told = document.querySelector("#past-time");

slider?.addEventListener("input", () => {
  told.value = moment(Number(slider.value));
});
slider?.addEventListener("change", () => slider.form.requestSubmit());
