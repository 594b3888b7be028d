# test_faults.sh at four hundred places of each command.
FAULTS=400 exec bash "$(dirname "$0")/test_faults.sh" "$1"
