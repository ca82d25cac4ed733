"""One page."""

import django
from django.http import HttpResponse
from django.templatetags.static import static
from django.urls import path


def index(request):
    return HttpResponse(f"hello from django {django.__version__}, {static('site.css')}")


urlpatterns = [path("", index)]
