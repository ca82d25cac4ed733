import importlib.metadata

import functions_framework


@functions_framework.http
def greet(request):
    return f"hello from itsdangerous {importlib.metadata.version('itsdangerous')}\n"
