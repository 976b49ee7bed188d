"""MLflow's server with another start page: `mlflow server --app-name tinyllm`.

MLflow begins at its own home page, in the menu for agents, and opens an assistant. With this app, a
browser that asks for `/` arrives at the page that the variable names, in the menu for models.
Choices that somebody has made there before stay.
"""

import json
import os
from pathlib import Path

from flask import Response, request
from mlflow.server import app as _pages
from mlflow.server.fastapi_app import app

__all__ = ["PAGE_VARIABLE", "app"]

PAGE_VARIABLE = "TINYLLM_START_PAGE"
# MLflow's settings in the browser, which it reads before it draws anything
_SETTINGS = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    "_mlflow_model_registry_promo_modal_dismissed_v1": True,
}
_SCRIPT = """<script>
for (const [key, value] of Object.entries(SETTINGS)) {
  if (localStorage.getItem(key) === null) localStorage.setItem(key, JSON.stringify(value));
}
if (["", "#/"].includes(location.hash)) location.replace(PAGE);
</script>"""


def _begin() -> Response | None:
    """The page `/`, which MLflow would send without the script."""
    page = os.environ.get(PAGE_VARIABLE, "")
    if request.endpoint != "serve" or not page:
        return None
    html = (Path(str(_pages.static_folder)) / "index.html").read_text(encoding="utf-8")
    script = _SCRIPT.replace("SETTINGS", json.dumps(_SETTINGS)).replace("PAGE", json.dumps(page))
    answer = Response(html.replace("<head>", f"<head>{script}", 1), mimetype="text/html")
    # another project may be served at this port tomorrow
    answer.headers["Cache-Control"] = "no-store"
    return answer


_pages.before_request(_begin)
