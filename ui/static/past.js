// The time slider of the page of past moments: says while it is moved which time it is at.

const slider = document.querySelector("#past-at");
const told = document.querySelector("#past-time");

slider?.addEventListener("input", () => {
  told.value = `${new Date(Number(slider.value)).toISOString().slice(0, 19).replace("T", " ")} UTC`;
});
slider?.addEventListener("change", () => slider.form.requestSubmit());
