"""Partner apps: registration, tools for sale, origins, and users' consents."""
