/* sluicectl: reads the command line, and runs the command that it names. */
#include <stdio.h>

#include "ctl/command_line.h"

int main(int argc, char **argv) {
    struct invocation invocation = invocation_of_environment();
    enum exit_code code = EXIT_USAGE;
    const struct command *command = command_line_read(argc, argv, &invocation, &code);
    if (command == NULL) {
        return code;
    }
    code = command->run(&invocation);
    if (fflush(stdout) != 0) {
        perror("sluicectl: standard output");
        return EXIT_USAGE;
    }
    return code;
}
