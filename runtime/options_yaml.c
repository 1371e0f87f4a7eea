#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "runtime/options_impl.h"

/* Bytes of a file of options; a table with a long comment for each option has a tenth. */
#define CONFIG_BYTES_MAX (256u << 10)

struct config {
    struct options_run *run;
    yaml_document_t document;
    bool *seen; /* of each option: it stood in the file already */
};

static void where_put(const struct config *config, yaml_mark_t mark,
                      char where[OPTION_WHERE_BYTES_MAX]) {
    snprintf(where, OPTION_WHERE_BYTES_MAX, "%s:%zu:%zu", config->run->config, mark.line + 1,
             mark.column + 1);
}

static const char *text_of(const yaml_node_t *node) {
    return (const char *)node->data.scalar.value;
}

/* Text of zero bytes in it would be cut short in silence. */
static bool is_text(const yaml_node_t *node) {
    return node->type == YAML_SCALAR_NODE && strlen(text_of(node)) == node->data.scalar.length;
}

static bool is_null(const yaml_node_t *node) {
    bool plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    const char *text = text_of(node);
    return plain && (text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

static void unknown_key(struct config *config, const char *where, const char *name) {
    const char *nearest = options_nearest(config->run->program, name);
    if (nearest != NULL)
        options_mistake(config->run, where, "no such option \"%.80s\"; did you mean %s?", name,
                        nearest);
    else
        options_mistake(config->run, where, "no such option \"%.80s\"", name);
}

static void pair_read(struct config *config, const yaml_node_pair_t *pair) {
    struct options_run *run = config->run;
    const yaml_node_t *key = yaml_document_get_node(&config->document, pair->key);
    const yaml_node_t *value = yaml_document_get_node(&config->document, pair->value);
    char where[OPTION_WHERE_BYTES_MAX];
    where_put(config, key->start_mark, where);
    if (!is_text(key)) {
        options_mistake(run, where, "expected the name of an option");
        return;
    }
    const struct option *option = options_find(run->program, text_of(key));
    if (option == NULL) {
        unknown_key(config, where, text_of(key));
        return;
    }
    bool *seen = &config->seen[option - run->program->options];
    if (*seen) {
        options_mistake(run, where, "%s stands twice in this file", option->name);
        return;
    }
    *seen = true;
    where_put(config, value->start_mark, where);
    if (!is_text(value) || is_null(value)) {
        options_mistake(run, where, "%s: expected one value (%s: VALUE)", option->name,
                        option->name);
        return;
    }
    char named[OPTION_WHERE_BYTES_MAX + OPTION_NAME_BYTES_MAX + 4];
    snprintf(named, sizeof named, "%s: %s", where, option->name);
    options_offer(run, option, ORIGIN_FILE, named, text_of(value));
}

static void document_read(struct config *config) {
    yaml_node_t *root = yaml_document_get_root_node(&config->document);
    if (root == NULL) /* an empty file says nothing, which is no mistake */
        return;
    if (root->type == YAML_SCALAR_NODE && is_null(root))
        return;
    if (root->type != YAML_MAPPING_NODE) {
        char where[OPTION_WHERE_BYTES_MAX];
        where_put(config, root->start_mark, where);
        options_mistake(config->run, where, "expected lines of the form name: value");
        return;
    }
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top; pair++)
        pair_read(config, pair);
}

static void parser_mistake(const struct config *config, const yaml_parser_t *parser) {
    char where[OPTION_WHERE_BYTES_MAX];
    where_put(config, parser->problem_mark, where);
    options_mistake(config->run, where, "not YAML: %s%s%s",
                    parser->problem != NULL ? parser->problem : "cannot be read",
                    parser->context != NULL ? ", " : "",
                    parser->context != NULL ? parser->context : "");
}

static void config_parse(struct config *config, const char *text, size_t size) {
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        options_mistake(config->run, config->run->config, "no memory");
        return;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    bool loaded = yaml_parser_load(&parser, &config->document) == 1;
    if (loaded) {
        document_read(config);
        bool more = yaml_document_get_root_node(&config->document) != NULL;
        yaml_document_delete(&config->document);
        loaded = !more || yaml_parser_load(&parser, &config->document) == 1;
        if (more && loaded) {
            if (yaml_document_get_root_node(&config->document) != NULL)
                options_mistake(config->run, config->run->config,
                                "more than one document (a line of ---): the rest is not read");
            yaml_document_delete(&config->document);
        }
    }
    if (!loaded)
        parser_mistake(config, &parser);
    yaml_parser_delete(&parser);
}

/* The whole file, to be freed; NULL with errno set. EFBIG: above CONFIG_BYTES_MAX. */
static char *file_read(const char *name, size_t *size) {
    FILE *file = fopen(name, "re");
    if (file == NULL)
        return NULL;
    char *text = malloc(CONFIG_BYTES_MAX + 1);
    *size = text != NULL ? fread(text, 1, CONFIG_BYTES_MAX + 1, file) : 0;
    int error = ferror(file) ? errno : *size > CONFIG_BYTES_MAX ? EFBIG : 0;
    fclose(file);
    if (text != NULL && error != 0) {
        free(text);
        text = NULL;
        errno = error;
    }
    return text;
}

void options_file_read(struct options_run *run) {
    struct config config = {.run = run};
    size_t size;
    char *text = file_read(run->config, &size);
    if (text == NULL) {
        options_mistake(run, run->config, "cannot be read: %s", strerror(errno));
        return;
    }
    config.seen = calloc(run->program->option_count + 1, sizeof config.seen[0]);
    if (config.seen == NULL)
        options_mistake(run, run->config, "no memory");
    else
        config_parse(&config, text, size);
    free(config.seen);
    explicit_bzero(text, size); /* it may hold secrets */
    free(text);
}
