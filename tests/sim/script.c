#include "tests/sim/script.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

/* Different scripts. */
#define SCRIPTS_MAX 64

struct scripts {
    lua_State *lua;
    struct bytes texts[SCRIPTS_MAX];
    int references[SCRIPTS_MAX];
    int count;
    struct db *db; /* of the run under way */
    uint64_t now_ns;
    bool full, written; /* the store is; the run has */
};

/* --- answers of commands to Lua ------------------------------------------------------------ */

/* Pushes the value at `at`; returns what follows it. */
static const char *resp_push(lua_State *lua, const char *at) {
    char *end;
    long long number = strtoll(at + 1, &end, 10);
    switch (*at) {
    case ':':
        lua_pushnumber(lua, (lua_Number)number);
        return end + 2;
    case '$':
        if (number < 0) {
            lua_pushboolean(lua, 0);
            return end + 2;
        }
        lua_pushlstring(lua, end + 2, (size_t)number);
        return end + 2 + number + 2;
    case '+': {
        const char *stop = strstr(at, "\r\n");
        lua_newtable(lua);
        lua_pushlstring(lua, at + 1, (size_t)(stop - at - 1));
        lua_setfield(lua, -2, "ok");
        return stop + 2;
    }
    default:
        assert(*at == '*');
        lua_newtable(lua);
        at = end + 2;
        for (long long i = 1; i <= number; i++) {
            at = resp_push(lua, at);
            lua_rawseti(lua, -2, (int)i);
        }
        return at;
    }
}

static void time_push(lua_State *lua, uint64_t now_ns) {
    uint64_t parts[] = {now_ns / 1000000000, now_ns % 1000000000 / 1000};
    lua_newtable(lua);
    for (int i = 0; i < 2; i++) {
        char text[24];
        snprintf(text, sizeof text, "%" PRIu64, parts[i]);
        lua_pushstring(lua, text);
        lua_rawseti(lua, -2, i + 1);
    }
}

/* A full Redis refuses what may need memory if it is a script's first write. */
static bool memory_refused(struct scripts *scripts, struct bytes name) {
    static const char *const growing[] = {"SET", "HSET", "SADD", "XADD"};
    static const char *const others[] = {"DEL", "HDEL", "SREM", "PEXPIRE"};
    bool grows = false;
    for (size_t i = 0; i < sizeof growing / sizeof growing[0]; i++) {
        grows = grows || bytes_equal(name, bytes_of_text(growing[i]));
        scripts->written = scripts->written || bytes_equal(name, bytes_of_text(others[i]));
    }
    return grows && scripts->full && !scripts->written;
}

/* redis.call and redis.pcall. Numbers become words as Redis makes them: "%.17g". */
static int command_run(lua_State *lua, bool raises) {
    struct scripts *scripts = lua_touserdata(lua, lua_upvalueindex(1));
    struct bytes words[DB_WORDS_MAX];
    int count = lua_gettop(lua);
    assert(count >= 1 && count <= DB_WORDS_MAX);
    for (int i = 0; i < count; i++) {
        size_t size;
        const char *text = lua_tolstring(lua, i + 1, &size);
        assert(text != NULL);
        words[i] = bytes_of(text, (uint32_t)size);
    }
    if (bytes_equal(words[0], bytes_of_text("TIME"))) {
        time_push(lua, scripts->now_ns);
        return 1;
    }
    struct buffer out = {0};
    bool refused = memory_refused(scripts, words[0]);
    if (refused) {
        buffer_print(&out, "OOM command not allowed when used memory > 'maxmemory'.");
    }
    bool done =
        !refused && db_call(scripts->db, scripts->now_ns / 1000000, words, (uint32_t)count, &out);
    buffer_put(&out, "", 1);
    if (!done && raises) {
        lua_pushstring(lua, (const char *)out.data);
        buffer_free(&out);
        return lua_error(lua);
    }
    if (!done) {
        lua_newtable(lua);
        lua_pushstring(lua, (const char *)out.data);
        lua_setfield(lua, -2, "err");
        buffer_free(&out);
        return 1;
    }
    resp_push(lua, (const char *)out.data);
    buffer_free(&out);
    return 1;
}

static int on_call(lua_State *lua) {
    return command_run(lua, true);
}

static int on_pcall(lua_State *lua) {
    return command_run(lua, false);
}

static int on_error_reply(lua_State *lua) {
    lua_newtable(lua);
    lua_pushvalue(lua, 1);
    lua_setfield(lua, -2, "err");
    return 1;
}

/* --- answers of scripts to the caller ------------------------------------------------------ */

static void answer_write(lua_State *lua, int at, struct buffer *out) {
    switch (lua_type(lua, at)) {
    case LUA_TSTRING: {
        size_t size;
        const char *text = lua_tolstring(lua, at, &size);
        buffer_bulk(out, bytes_of(text, (uint32_t)size));
        break;
    }
    case LUA_TNUMBER:
        buffer_print(out, ":%" PRId64 "\r\n", (int64_t)lua_tonumber(lua, at));
        break;
    case LUA_TBOOLEAN:
        buffer_print(out, lua_toboolean(lua, at) ? ":1\r\n" : "$-1\r\n");
        break;
    case LUA_TTABLE: {
        lua_getfield(lua, at, "err");
        if (!lua_isnil(lua, -1)) {
            buffer_print(out, "-%.200s\r\n", lua_tostring(lua, -1));
            lua_pop(lua, 1);
            break;
        }
        lua_pop(lua, 1);
        /* Up to the first nil, as Redis does. */
        uint32_t count = 0;
        for (;; count++) {
            lua_rawgeti(lua, at, (int)count + 1);
            bool end = lua_isnil(lua, -1);
            lua_pop(lua, 1);
            if (end) {
                break;
            }
        }
        buffer_print(out, "*%u\r\n", count);
        for (uint32_t i = 1; i <= count; i++) {
            lua_rawgeti(lua, at, (int)i);
            answer_write(lua, lua_gettop(lua), out);
            lua_pop(lua, 1);
        }
        break;
    }
    default:
        buffer_print(out, "$-1\r\n");
    }
}

/* --- scripts ------------------------------------------------------------------------------- */

struct scripts *scripts_create(void) {
    struct scripts *scripts = calloc(1, sizeof *scripts);
    assert(scripts != NULL);
    scripts->lua = luaL_newstate();
    assert(scripts->lua != NULL);
    luaL_openlibs(scripts->lua);
    static const struct luaL_Reg functions[] = {
        {"call", on_call}, {"pcall", on_pcall}, {"error_reply", on_error_reply}};
    lua_newtable(scripts->lua);
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        lua_pushlightuserdata(scripts->lua, scripts);
        lua_pushcclosure(scripts->lua, functions[i].func, 1);
        lua_setfield(scripts->lua, -2, functions[i].name);
    }
    lua_setglobal(scripts->lua, "redis");
    return scripts;
}

int scripts_load(struct scripts *scripts, struct bytes text, char *why, size_t why_size) {
    for (int i = 0; i < scripts->count; i++) {
        if (bytes_equal(scripts->texts[i], text)) {
            return i;
        }
    }
    assert(scripts->count < SCRIPTS_MAX);
    if (luaL_loadbuffer(scripts->lua, (const char *)text.data, text.size, "script") != 0) {
        snprintf(why, why_size, "%s", lua_tostring(scripts->lua, -1));
        lua_pop(scripts->lua, 1);
        return -1;
    }
    uint8_t *copy = malloc(text.size + 1u);
    assert(copy != NULL);
    memcpy(copy, text.data, text.size);
    scripts->texts[scripts->count] = bytes_of(copy, text.size);
    scripts->references[scripts->count] = luaL_ref(scripts->lua, LUA_REGISTRYINDEX);
    return scripts->count++;
}

static void list_set(lua_State *lua, const char *name, const struct bytes *list, uint32_t count) {
    lua_newtable(lua);
    for (uint32_t i = 0; i < count; i++) {
        lua_pushlstring(lua, (const char *)list[i].data, list[i].size);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setglobal(lua, name);
}

void scripts_full(struct scripts *scripts, bool full) {
    scripts->full = full;
}

void scripts_run(struct scripts *scripts, struct db *db, const struct script_call *call,
                 struct buffer *out) {
    lua_State *lua = scripts->lua;
    scripts->db = db;
    scripts->now_ns = call->now_ns;
    scripts->written = false;
    list_set(lua, "KEYS", call->keys, call->key_count);
    list_set(lua, "ARGV", call->words, call->word_count);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, scripts->references[call->script]);
    if (lua_pcall(lua, 0, 1, 0) != 0) {
        buffer_print(out, "-ERR script: %.200s\r\n", lua_tostring(lua, -1));
    } else {
        answer_write(lua, lua_gettop(lua), out);
    }
    lua_settop(lua, 0);
}
