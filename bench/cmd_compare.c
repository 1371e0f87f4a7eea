#include "bench/command.h"
int command_compare(int argc, char **argv) {
    return 2;
}
