#include <string.h>

#include "runtime/options_impl.h"

/* Columns of a line of help, and of what stands left of the explanations. */
#define HELP_WIDTH 80
#define HELP_INDENT 8

/* Prints words behind each other, in lines that are indented and end before HELP_WIDTH. */
static void wrapped_print(FILE *out, const char *text) {
    int column = 0;
    while (*text != '\0') {
        int size = (int)strcspn(text, " ");
        if (column == 0 || column + 1 + size > HELP_WIDTH) {
            fprintf(out, "%s%*s%.*s", column > 0 ? "\n" : "", HELP_INDENT, "", size, text);
            column = HELP_INDENT + size;
        } else {
            fprintf(out, " %.*s", size, text);
            column += 1 + size;
        }
        text += size;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static const char *metavar_of(const struct option *option) {
    static const char *const by_kind[] = {
        [OPTION_TEXT] = "TEXT",         [OPTION_COUNT] = "N", [OPTION_BYTES] = "SIZE",
        [OPTION_DURATION] = "DURATION", [OPTION_SWITCH] = "", [OPTION_CHOICE] = "",
    };
    if (option->metavar != NULL)
        return option->metavar;
    return option->kind == OPTION_CHOICE ? option->choices : by_kind[option->kind];
}

static void range_print(const struct option *option, char *out, size_t out_size) {
    char least[32], most[32];
    bool number = option->kind == OPTION_COUNT || option->kind == OPTION_BYTES ||
                  option->kind == OPTION_DURATION;
    out[0] = '\0';
    if (!number || (option->min == 0 && option->max == 0))
        return;
    option_number_format(option->kind, option->min, least, sizeof least);
    option_number_format(option->kind, option->max, most, sizeof most);
    if (option->max == 0)
        snprintf(out, out_size, "at least %s; ", least);
    else
        snprintf(out, out_size, "%s to %s; ", least, most);
}

static void option_print(const struct option *option, FILE *out) {
    char flag[OPTION_NAME_BYTES_MAX + 8], variable[OPTION_NAME_BYTES_MAX + 8], range[80];
    char facts[512];
    option_flag_name(option->name, flag);
    option_variable_name(option->name, variable);
    range_print(option, range, sizeof range);
    if (option->secret)
        fprintf(out, "  %s (a secret: no flag)\n", option->name);
    else if (option->kind == OPTION_SWITCH)
        fprintf(out, "  %s, --no-%s\n", flag, flag + strlen("--"));
    else
        fprintf(out, "  %s %s\n", flag, metavar_of(option));
    wrapped_print(out, option->help);
    bool shown = option->initial != NULL && option->initial[0] != '\0' && !option->secret;
    snprintf(facts, sizeof facts, "[%s%s; %s%s]", shown ? "default " : "no default",
             shown ? option->initial : "", range, variable);
    wrapped_print(out, facts);
}

void options_help_print(const struct options_program *program, FILE *out) {
    fprintf(out, "Usage: %s [--name VALUE ...]\n%s\n\n", program->name, program->summary);
    fputs("Each option may be given as a flag (--name VALUE), in the environment\n"
          "(SLUICE_NAME=VALUE) or in a YAML file (a line \"name: VALUE\", '_' for '-').\n"
          "The nearest wins: flag, environment, file, default.\n\n",
          out);
    for (size_t i = 0; i < program->option_count; i++)
        option_print(&program->options[i], out);
    fputs("  --config FILE\n        Read options from this YAML file.\n"
          "        [no default; SLUICE_CONFIG]\n"
          "  --help\n        Print this and exit.\n"
          "  --version\n        Print the version and exit.\n",
          out);
    if (program->examples != NULL)
        fprintf(out, "\nExamples:\n%s\n", program->examples);
}
