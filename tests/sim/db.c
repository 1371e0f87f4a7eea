#include "tests/sim/db.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/slot.h"

#define CHAINS 512

struct field {
    struct field *next;
    uint64_t order; /* of its making: what a cursor counts by */
    struct bytes name, value;
};

struct key {
    struct key *next;
    struct bytes name;
    struct bytes string;
    struct field *fields; /* of a hash or a set, by order */
    uint64_t expires_ms;  /* 0: never */
    uint64_t added;       /* entries of a stream */
};

struct db {
    struct key *chains[CHAINS];
    uint64_t order, expired;
};

/* --- buffers ------------------------------------------------------------------------------- */

void buffer_put(struct buffer *buffer, const void *data, size_t size) {
    if (buffer->size + size + 1 > buffer->room) { /* with a zero after what it holds */
        buffer->room = (buffer->size + size + 1) * 2;
        buffer->data = realloc(buffer->data, buffer->room);
        assert(buffer->data != NULL);
    }
    if (size > 0) {
        memcpy(buffer->data + buffer->size, data, size);
    }
    buffer->size += size;
    buffer->data[buffer->size] = '\0';
}

void buffer_print(struct buffer *buffer, const char *format, ...) {
    char text[256];
    va_list values;
    va_start(values, format);
    int size = vsnprintf(text, sizeof text, format, values);
    va_end(values);
    assert(size >= 0 && (size_t)size < sizeof text);
    buffer_put(buffer, text, (size_t)size);
}

void buffer_bulk(struct buffer *buffer, struct bytes bytes) {
    buffer_print(buffer, "$%u\r\n", (unsigned)bytes.size);
    buffer_put(buffer, bytes.data, bytes.size);
    buffer_put(buffer, "\r\n", 2);
}

void buffer_free(struct buffer *buffer) {
    free(buffer->data);
    *buffer = (struct buffer){0};
}

/* --- keys ---------------------------------------------------------------------------------- */

static struct bytes bytes_copy(struct bytes from) {
    uint8_t *copy = malloc(from.size + 1u);
    assert(copy != NULL);
    memcpy(copy, from.data == NULL ? (const void *)"" : (const void *)from.data, from.size);
    copy[from.size] = '\0';
    return bytes_of(copy, from.size);
}

static void bytes_free(struct bytes bytes) {
    free((void *)(uintptr_t)bytes.data);
}

static void bytes_set(struct bytes *to, struct bytes from) {
    struct bytes copy = bytes_copy(from);
    bytes_free(*to);
    *to = copy;
}

static struct key **chain_of(struct db *db, struct bytes name) {
    return &db->chains[key_hash(name) % CHAINS];
}

static void key_free(struct key *key) {
    while (key->fields != NULL) {
        struct field *next = key->fields->next;
        bytes_free(key->fields->name);
        bytes_free(key->fields->value);
        free(key->fields);
        key->fields = next;
    }
    bytes_free(key->name);
    bytes_free(key->string);
    free(key);
}

static bool key_delete(struct db *db, struct bytes name) {
    for (struct key **at = chain_of(db, name); *at != NULL; at = &(*at)->next) {
        if (bytes_equal((*at)->name, name)) {
            struct key *gone = *at;
            *at = gone->next;
            key_free(gone);
            return true;
        }
    }
    return false;
}

static struct key *key_find(struct db *db, struct bytes name, uint64_t now_ms) {
    for (struct key *key = *chain_of(db, name); key != NULL; key = key->next) {
        if (bytes_equal(key->name, name)) {
            if (key->expires_ms != 0 && key->expires_ms <= now_ms) {
                db->expired++;
                key_delete(db, name);
                return NULL;
            }
            return key;
        }
    }
    return NULL;
}

static struct key *key_make(struct db *db, struct bytes name, uint64_t now_ms) {
    struct key *key = key_find(db, name, now_ms);
    if (key == NULL) {
        struct key **chain = chain_of(db, name);
        key = calloc(1, sizeof *key);
        assert(key != NULL);
        key->name = bytes_copy(name);
        key->next = *chain;
        *chain = key;
    }
    return key;
}

static struct field *field_find(const struct key *key, struct bytes name) {
    for (struct field *field = key == NULL ? NULL : key->fields; field != NULL;
         field = field->next) {
        if (bytes_equal(field->name, name)) {
            return field;
        }
    }
    return NULL;
}

/* True if it is new. */
static bool field_set(struct db *db, struct key *key, struct bytes name, struct bytes value) {
    struct field *field = field_find(key, name);
    if (field != NULL) {
        bytes_set(&field->value, value);
        return false;
    }
    struct field **last = &key->fields;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    field = calloc(1, sizeof *field);
    assert(field != NULL);
    db->order++;
    field->order = db->order;
    field->name = bytes_copy(name);
    field->value = bytes_copy(value);
    *last = field;
    return true;
}

static bool field_remove(struct key *key, struct bytes name) {
    for (struct field **at = key == NULL ? NULL : &key->fields; at != NULL && *at != NULL;
         at = &(*at)->next) {
        if (bytes_equal((*at)->name, name)) {
            struct field *gone = *at;
            *at = gone->next;
            bytes_free(gone->name);
            bytes_free(gone->value);
            free(gone);
            return true;
        }
    }
    return false;
}

struct db *db_create(void) {
    struct db *db = calloc(1, sizeof *db);
    assert(db != NULL);
    return db;
}

void db_free(struct db *db) {
    for (uint32_t i = 0; i < CHAINS; i++) {
        while (db->chains[i] != NULL) {
            struct key *next = db->chains[i]->next;
            key_free(db->chains[i]);
            db->chains[i] = next;
        }
    }
    free(db);
}

struct db *db_copy(const struct db *from) {
    struct db *db = db_create();
    db->order = from->order;
    db->expired = from->expired;
    for (uint32_t i = 0; i < CHAINS; i++) {
        for (const struct key *key = from->chains[i]; key != NULL; key = key->next) {
            struct key *copy = key_make(db, key->name, 0);
            copy->string = key->string.data == NULL ? key->string : bytes_copy(key->string);
            copy->expires_ms = key->expires_ms;
            copy->added = key->added;
            struct field **last = &copy->fields;
            for (const struct field *field = key->fields; field != NULL; field = field->next) {
                *last = calloc(1, sizeof **last);
                assert(*last != NULL);
                **last = (struct field){.order = field->order,
                                        .name = bytes_copy(field->name),
                                        .value = bytes_copy(field->value)};
                last = &(*last)->next;
            }
        }
    }
    return db;
}

uint64_t db_expired(const struct db *db) {
    return db->expired;
}

void db_visit(const struct db *db, const char *suffix,
              void (*visit)(void *ctx, const char *key, struct bytes field, struct bytes value),
              void *ctx) {
    size_t size = strlen(suffix);
    for (uint32_t i = 0; i < CHAINS; i++) {
        for (const struct key *key = db->chains[i]; key != NULL; key = key->next) {
            const char *name = (const char *)key->name.data;
            if (key->name.size < size || strcmp(name + key->name.size - size, suffix) != 0) {
                continue;
            }
            for (const struct field *field = key->fields; field != NULL; field = field->next) {
                visit(ctx, name, field->name, field->value);
            }
        }
    }
}

/* --- commands ------------------------------------------------------------------------------ */

struct call {
    struct db *db;
    uint64_t now_ms;
    const struct bytes *words;
    uint32_t count;
    struct buffer *out;
    struct key *key; /* of words[1], NULL: there is none */
};

static void put_nil(struct buffer *out) {
    buffer_print(out, "$-1\r\n");
}

static void put_bulk_or_nil(struct buffer *out, const struct field *field) {
    if (field == NULL) {
        put_nil(out);
    } else {
        buffer_bulk(out, field->value);
    }
}

static void put_number(struct buffer *out, int64_t number) {
    buffer_print(out, ":%" PRId64 "\r\n", number);
}

static void call_get(struct call *call) {
    if (call->key == NULL) {
        put_nil(call->out);
    } else {
        buffer_bulk(call->out, call->key->string);
    }
}

static void call_mget(struct call *call) {
    buffer_print(call->out, "*%u\r\n", call->count - 1);
    for (uint32_t i = 1; i < call->count; i++) {
        const struct key *key = key_find(call->db, call->words[i], call->now_ms);
        if (key == NULL || key->string.data == NULL) {
            put_nil(call->out);
        } else {
            buffer_bulk(call->out, key->string);
        }
    }
}

static void call_set(struct call *call) {
    key_delete(call->db, call->words[1]);
    bytes_set(&key_make(call->db, call->words[1], call->now_ms)->string, call->words[2]);
    buffer_print(call->out, "+OK\r\n");
}

static void call_del(struct call *call) {
    put_number(call->out, key_delete(call->db, call->words[1]));
}

static void call_exists(struct call *call) {
    put_number(call->out, call->key != NULL);
}

static void call_hset(struct call *call) {
    struct key *key = key_make(call->db, call->words[1], call->now_ms);
    int64_t added = 0;
    for (uint32_t i = 2; i + 1 < call->count; i += 2) {
        added += field_set(call->db, key, call->words[i], call->words[i + 1]);
    }
    put_number(call->out, added);
}

static void call_hget(struct call *call) {
    put_bulk_or_nil(call->out, field_find(call->key, call->words[2]));
}

static void call_hmget(struct call *call) {
    buffer_print(call->out, "*%u\r\n", call->count - 2);
    for (uint32_t i = 2; i < call->count; i++) {
        put_bulk_or_nil(call->out, field_find(call->key, call->words[i]));
    }
}

static void call_hdel(struct call *call) {
    int64_t removed = 0;
    for (uint32_t i = 2; i < call->count; i++) {
        removed += field_remove(call->key, call->words[i]);
    }
    if (call->key != NULL && call->key->fields == NULL) {
        key_delete(call->db, call->words[1]);
    }
    put_number(call->out, removed);
}

static void call_hscan(struct call *call) {
    uint64_t cursor = strtoull((const char *)call->words[2].data, NULL, 10), next = 0;
    struct buffer entries = {0};
    uint32_t count = 0;
    for (const struct field *field = call->key == NULL ? NULL : call->key->fields; field != NULL;
         field = field->next) {
        if (field->order < cursor) {
            continue;
        }
        if (count == DB_PAGE_ENTRIES) {
            next = field->order;
            break;
        }
        buffer_bulk(&entries, field->name);
        buffer_bulk(&entries, field->value);
        count++;
    }
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, next);
    buffer_print(call->out, "*2\r\n");
    buffer_bulk(call->out, bytes_of_text(text));
    buffer_print(call->out, "*%u\r\n", 2 * count);
    buffer_put(call->out, entries.data, entries.size);
    buffer_free(&entries);
}

static void call_sadd(struct call *call) {
    struct key *key = key_make(call->db, call->words[1], call->now_ms);
    put_number(call->out, field_set(call->db, key, call->words[2], (struct bytes){0}));
}

static void call_srem(struct call *call) {
    put_number(call->out, field_remove(call->key, call->words[2]));
}

static void call_smembers(struct call *call) {
    uint32_t count = 0;
    for (const struct field *field = call->key == NULL ? NULL : call->key->fields; field != NULL;
         field = field->next) {
        count++;
    }
    buffer_print(call->out, "*%u\r\n", count);
    for (const struct field *field = call->key == NULL ? NULL : call->key->fields; field != NULL;
         field = field->next) {
        buffer_bulk(call->out, field->name);
    }
}

static void call_pexpire(struct call *call) {
    if (call->key != NULL) {
        call->key->expires_ms =
            call->now_ms + strtoull((const char *)call->words[2].data, NULL, 10);
    }
    put_number(call->out, call->key != NULL);
}

static void call_pttl(struct call *call) {
    put_number(call->out, call->key == NULL ? -2
                          : call->key->expires_ms == 0
                              ? -1
                              : (int64_t)(call->key->expires_ms - call->now_ms));
}

static void call_xadd(struct call *call) {
    key_make(call->db, call->words[1], call->now_ms)->added++;
    buffer_bulk(call->out, bytes_of_text("1-1"));
}

static void call_xrevrange(struct call *call) {
    buffer_print(call->out, "*0\r\n");
}

static const struct {
    const char *name;
    uint32_t words_least;
    void (*run)(struct call *call);
} commands[] = {
    {"GET", 2, call_get},         {"SET", 3, call_set},
    {"DEL", 2, call_del},         {"EXISTS", 2, call_exists},
    {"HSET", 4, call_hset},       {"HGET", 3, call_hget},
    {"HMGET", 3, call_hmget},     {"HDEL", 3, call_hdel},
    {"HSCAN", 3, call_hscan},     {"SADD", 3, call_sadd},
    {"SREM", 3, call_srem},       {"SMEMBERS", 2, call_smembers},
    {"PEXPIRE", 3, call_pexpire}, {"PTTL", 2, call_pttl},
    {"XADD", 4, call_xadd},       {"XREVRANGE", 4, call_xrevrange},
    {"MGET", 2, call_mget},
};

bool db_call(struct db *db, uint64_t now_ms, const struct bytes *words, uint32_t count,
             struct buffer *out) {
    struct call call = {db, now_ms, words, count, out, NULL};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (bytes_equal(words[0], bytes_of_text(commands[i].name)) &&
            count >= commands[i].words_least) {
            call.key = key_find(db, words[1], now_ms);
            commands[i].run(&call);
            return true;
        }
    }
    buffer_print(out, "-ERR unknown command or wrong number of words: %.40s\r\n",
                 (const char *)words[0].data);
    return false;
}
