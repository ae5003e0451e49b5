"use strict";

// ReDoc's badge loads a logo from its maker's CDN, and no option turns that off. Give any
// picture from another origin an empty one instead, so that no request leaves ours.
const EMPTY = "data:image/gif;base64,R0lGODlhAQABAAAAACw=";
const inside = (address) =>
  new URL(address, location.href).origin === location.origin || String(address).startsWith("data:")
    ? address
    : EMPTY;
const { set } = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");
const { setAttribute } = Element.prototype;

Object.defineProperty(HTMLImageElement.prototype, "src", {
  set(address) {
    set.call(this, inside(address));
  },
});
Element.prototype.setAttribute = function (name, value) {
  const picture = this instanceof HTMLImageElement && name === "src";
  setAttribute.call(this, name, picture ? inside(value) : value);
};

const place = document.getElementById("redoc");

Redoc.init(place.dataset.document, {}, place);
