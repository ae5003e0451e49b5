"""The OpenAPI documents: schema, examples, and the pages that show them."""
