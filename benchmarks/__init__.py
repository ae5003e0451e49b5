"""Benchmarks that `./dev bench` runs. No release contains them.

They measure a pair of reserve and settle over HTTP (token, validation, durable commit).
The same run measures two comparisons on the same database:

* the SQL functions called directly, which is the upper limit.
* `select_for_update` over the same web stack, which is the usual way.
"""
