<?php echo "sum ", bcadd("0.1", "0.2", 1);
