"""The staff site: look, menu, dashboard, shared columns and read-only lists.

Settings read `UNFOLD` from here, so this file imports nothing.
"""

# The same violet as the pages for people.
VIOLET = {
    "50": "#f6f4ff",
    "100": "#efecff",
    "200": "#ddd6fe",
    "300": "#c5b9ff",
    "400": "#a594ff",
    "500": "#7f67fb",
    "600": "#5b3df5",
    "700": "#4a2fd0",
    "800": "#3d28a8",
    "900": "#332384",
    "950": "#1f1552",
}

UNFOLD = {
    "SITE_TITLE": "Focus",
    "SITE_HEADER": "Focus",
    "SITE_SUBHEADER": "Accounts and credits",
    "SITE_ICON": "focus.admin_site.menu.mark",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": "focus.admin_site.menu.mark",
        }
    ],
    "COLORS": {"primary": VIOLET},
    "STYLES": ["focus.admin_site.menu.stylesheet"],
    "SCRIPTS": ["focus.admin_site.menu.script"],
    "ENVIRONMENT": "focus.admin_site.menu.environment",
    "DASHBOARD_CALLBACK": "focus.admin_site.dashboard.show",
    "SIDEBAR": {
        "show_search": True,
        "navigation": "focus.admin_site.menu.navigation",
    },
}
