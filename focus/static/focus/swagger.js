"use strict";

const place = document.getElementById("swagger");

window.ui = SwaggerUIBundle({
  url: place.dataset.document,
  domNode: place,
  deepLinking: true,
  // By default swagger.io judges the document, which would tell it where we are.
  validatorUrl: null,
});
