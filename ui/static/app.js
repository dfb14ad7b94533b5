// Entry point: wires the parts of a page together. Without scripts the same pages work, reloaded every 15 s.

import { startAges, tick } from "./ages.js";
import { startAlerts } from "./alerts.js";
import { startChart } from "./chart.js";
import { startControl } from "./control.js";
import { startCurve } from "./curve.js";
import { startFilters } from "./filters.js";
import { startKeys } from "./keys.js";
import { startLive } from "./live.js";
import { startOrders } from "./orders.js";
import { startPreferences } from "./preferences.js";
import { startReplay } from "./replay.js";
import { startRows } from "./rows.js";
import { startSearch } from "./search.js";
import { startSorts } from "./sorts.js";
import { startStars } from "./stars.js";
import { startViews } from "./views.js";

startAges();
const shown = [tick];
const live = startLive(() => shown.forEach((hear) => hear()));
shown.push(startControl(live), startCurve(), startChart(live), startOrders(live), startReplay(live), startAlerts(live));
shown.push(startRows());
startFilters(live);
startSearch();
startSorts(live);
startStars(live);
startPreferences();
startViews();
startKeys();
