"use strict";

// ReDoc's badge loads a logo from its maker's CDN, and no option turns that off. Give any
// picture from another origin an empty one instead, so that no request leaves ours.
const EMPTY = "data:image/gif;base64,R0lGODlhAQABAAAAACw=";
const setAttribute = Element.prototype.setAttribute;

Element.prototype.setAttribute = function (name, value) {
  const elsewhere =
    this instanceof HTMLImageElement &&
    name === "src" &&
    !value.startsWith("data:") &&
    new URL(value, location.href).origin !== location.origin;
  setAttribute.call(this, name, elsewhere ? EMPTY : value);
};

const place = document.getElementById("redoc");

Redoc.init(place.dataset.document, {}, place);
