<?php

echo file_get_contents(__DIR__ . "/build/manifest.json"), " ", getenv("LOG_CHANNEL"), " ", is_writable(__DIR__ . "/../storage/framework/views") ? "writable" : "closed";
