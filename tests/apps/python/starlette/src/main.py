"""An app below src that is not a package."""

from importlib.metadata import version

from greeting import WORD
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


def index(request):
    return PlainTextResponse(f"{WORD} from starlette {version('starlette')}")


app = Starlette(routes=[Route("/", index)])
