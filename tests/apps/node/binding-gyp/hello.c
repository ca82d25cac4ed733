#include <node_api.h>

NAPI_MODULE_INIT() {
  napi_value text;
  napi_create_string_utf8(env, "hello", NAPI_AUTO_LENGTH, &text);
  return text;
}
