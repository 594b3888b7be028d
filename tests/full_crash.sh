# test_crash.sh with thirty kills and five workers that are stopped past their lease.
CRASHES=30 STOPS=5 exec bash "$(dirname "$0")/test_crash.sh" "$1"
