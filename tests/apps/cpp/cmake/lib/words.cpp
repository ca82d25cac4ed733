#include "words.h"

const char *words() { return "hello from " SHOP_VERSION; }
