// Entry: wires the parts of a page together. Without scripts the same pages work, reloaded every 15 s.

import { startAges, tick } from "./ages.js";
import { startFilters } from "./filters.js";
import { startKeys } from "./keys.js";
import { startLive } from "./live.js";
import { startSearch } from "./search.js";

startAges();
const live = startLive(tick);
startFilters(live);
startSearch();
startKeys();
