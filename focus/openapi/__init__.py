"""The OpenAPI documents: schema, examples, and pages to read them."""
