<?php echo "page ", $_SERVER["REQUEST_URI"], " by PHP ", PHP_MAJOR_VERSION;
