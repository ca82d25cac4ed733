<?php echo "hello from admin";
