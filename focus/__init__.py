"""The project, in two layers.

Composition, above the apps: settings, URL map, contracts, OpenAPI, health, web. Ground,
below them: errors, money, limits, outgoing connections, background work, database.
"""
