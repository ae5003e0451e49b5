"""reviv's restorations: photos, their unlocks, and the share that unlocks one."""
