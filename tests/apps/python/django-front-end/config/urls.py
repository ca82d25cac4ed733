"""One page: what the front end's build left among the collected static files."""

import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path


def index(request):
    built = (settings.STATIC_ROOT / "site.txt").read_text()
    return HttpResponse(f"hello from django {django.__version__}, {built}")


urlpatterns = [path("", index)]
