#include "server/io/scripts.h"

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define RAISES TEXT(FENCE_RAISES)

/* A Redis that is full refuses a script whose first write could need memory. Those that need none,
 * or as much as they free, begin with a write that Redis knows to need none: leases go on, fences
 * rise and the map changes on a Redis that is full. */

/* What is no number was written by somebody else; without this Lua would say "compare nil". */
#define FENCE_READ                                                                                 \
    "local held = tonumber(redis.call('GET', KEYS[1]) or '0')\n"                                   \
    "if not held then return redis.error_reply('BADFENCE no number in ' .. KEYS[1]) end\n"

static const char *const texts[] = {
    /* Numbers are formatted by hand: Lua would write large ones with an exponent.
     *
     * A shard that holds the slot already (its fence is not 0) raises its own fence, and must not
     * raise another's: not that of a newer process under the same epoch, nor over the half of a
     * router that has decided in the slot, nor what its own late request made of that half. Its own
     * may have been raised by a request whose answer was lost.
     *
     * The write that needs no memory is a time to live of ten years, which SET takes away again. It
     * must not be DEL: where a Redis Cluster is moving the slot, a key that is not there is
     * another master's, and the script would end with the fence gone. */
    [SCRIPT_RAISE_FENCE] = FENCE_READ
    "local least, own = tonumber(ARGV[1]) * " RAISES ", tonumber(ARGV[2])\n"
    "if held >= least + " RAISES " then return 'FENCED' end\n"
    "if own > 0 and (held % 1 ~= 0 or held > own and redis.call('GET', KEYS[2]) ~= ARGV[3]) then\n"
    "return 'FENCED' end\n"
    "local raised = string.format('%.0f', math.floor(math.max(held, least, own)) + 1)\n"
    "redis.call('PEXPIRE', KEYS[1], 315360000000)\n"
    "redis.call('SET', KEYS[1], raised)\n"
    "redis.call('SET', KEYS[2], own > 0 and ARGV[3] or ARGV[3] .. '@' .. raised)\n"
    "return raised\n",

    /* Each slot by itself: what one of them refuses harms no other. A stored fence below ours was
     * lost with the tail of an append-only file: put it back, unless a router has decided in the
     * slot since. What is to go goes first: with that a Redis that is full gets emptier. If all say
     * the same it is the server that refuses (it is full, or a replica), and its word for that is
     * the whole answer. */
    [SCRIPT_WRITE] =
        "local pcall, keys, argv, slots = redis.pcall, KEYS, ARGV, #KEYS / 2\n"
        "local helds = redis.call('MGET', unpack(keys, 1, slots))\n"
        "local function fault(answer) return type(answer) == 'table' and answer.err end\n"
        "local function fence_unlike(key, fence)\n"
        "local held = pcall('GET', key)\n"
        "if fault(held) then return held.err end\n"
        "held = tonumber(held or '0')\n"
        "if not held then return 'BADFENCE no number in ' .. key end\n"
        "if held > tonumber(fence) then return 'FENCED' end\n"
        "if held == tonumber(fence) then return false end\n"
        "return held % 1 ~= 0 and 'FENCED' or fault(pcall('SET', key, fence))\n"
        "end\n"
        "local answers, same, at = false, true, 1\n"
        "for slot = 1, slots do\n"
        "local fence, removals, sets = argv[at], argv[at + 1], argv[at + 2]\n"
        "local answer = helds[slot] ~= fence and fence_unlike(keys[slot], fence)\n"
        "at = at + 3\n"
        "if removals ~= '0' then\n"
        "local next = at + removals\n"
        "answer = answer or fault(pcall('HDEL', keys[slots + slot], unpack(argv, at, next - 1)))\n"
        "at = next\n"
        "end\n"
        "if sets ~= '0' then\n"
        "local next = at + sets * 2\n"
        "answer = answer or fault(pcall('HSET', keys[slots + slot], unpack(argv, at, next - 1)))\n"
        "at = next\n"
        "end\n"
        "if answer and not answers then\n"
        "answers = {}\n"
        "for before = 1, slot - 1 do answers[before] = 'OK' end\n"
        "end\n"
        "if answers then\n"
        "answers[slot] = answer or 'OK'\n"
        "same = same and answers[slot] == answers[1]\n"
        "end\n"
        "end\n"
        "if not answers then return 'OK' end\n"
        "if not same then return answers end\n"
        "return answers[1] == 'FENCED' and 'FENCED' or redis.error_reply(answers[1])\n",

    [SCRIPT_ASSIGN] = FENCE_READ "if held > tonumber(ARGV[1]) then return 'FENCED' end\n"
                                 "if ARGV[3] == '' then redis.call('HDEL', KEYS[2], ARGV[2])\n"
                                 "else redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end\n"
                                 "return 'OK'\n",

    /* The time first: a Redis that is full refuses a script whose first write could need memory,
     * and a lease must not run out because Redis is full. */
    [SCRIPT_FETCH] = "return {redis.call('HGET', KEYS[1], ARGV[1]), "
                     "redis.call('HGET', KEYS[2], ARGV[1])}\n",

    [SCRIPT_HEARTBEAT] =
        "local held = redis.call('HGET', KEYS[1], 'incarnation')\n"
        "if held and held ~= ARGV[2] then return {held} end\n"
        "redis.call('PEXPIRE', KEYS[1], ARGV[4])\n"
        "redis.call('HSET', KEYS[1], 'incarnation', ARGV[2], 'info', ARGV[3])\n"
        "if not held then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end\n"
        "redis.call('SADD', KEYS[2], ARGV[1])\n"
        "local map = redis.call('HMGET', KEYS[3], 'number', 'value')\n"
        "local plans = redis.call('HMGET', KEYS[4], 'number', 'value')\n"
        "if map[1] == ARGV[5] then map[2] = false end\n"
        "if plans[1] == ARGV[6] then plans[2] = false end\n"
        "local absent = {}\n"
        "for i, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do\n"
        "if redis.call('EXISTS', ARGV[7] .. id) == 0 then absent[#absent + 1] = id end\n"
        "end\n"
        "return {'OK', map[2], plans[2], absent, map[1] or '0', plans[1] or '0'}\n",

    [SCRIPT_ACQUIRE] = "local held = redis.call('HGET', KEYS[1], 'incarnation')\n"
                       "if held and held ~= ARGV[5] then return held end\n"
                       "redis.call('HSET', KEYS[1], 'incarnation', ARGV[2], 'info', ARGV[3])\n"
                       "redis.call('PEXPIRE', KEYS[1], ARGV[4])\n"
                       "redis.call('SADD', KEYS[2], ARGV[1])\n"
                       "return 'OK'\n",

    [SCRIPT_RELEASE] = "if redis.call('HGET', KEYS[1], 'incarnation') == ARGV[1] then\n"
                       "redis.call('DEL', KEYS[1]) end\n"
                       "return 'OK'\n",

    [SCRIPT_NODES] = "local nodes = {}\n"
                     "local ids = redis.call('SMEMBERS', KEYS[1])\n"
                     "table.sort(ids)\n"
                     "for i, id in ipairs(ids) do\n"
                     "local held = redis.call('HMGET', ARGV[1] .. id, 'incarnation', 'info')\n"
                     "nodes[i] = {id, held[1], held[2], redis.call('PTTL', ARGV[1] .. id)}\n"
                     "end\n"
                     "return {redis.call('HGET', KEYS[2], 'number') or '0', nodes}\n",

    /* An event of the same group is replaced, if it is among the newest. */
    [SCRIPT_EVENT] =
        "for i, event in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[2])) do\n"
        "for j = 1, #event[2], 2 do\n"
        "if event[2][j] == 'group' and event[2][j + 1] == ARGV[3] then\n"
        "redis.call('XDEL', KEYS[1], event[1]) end\n"
        "end\n"
        "end\n"
        "return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'kind', ARGV[4], 'node', "
        "ARGV[5], 'epoch', ARGV[6], 'text', ARGV[7], 'group', ARGV[3])\n",

    [SCRIPT_FORGET] = "if redis.call('EXISTS', KEYS[2]) == 1 then return 'HELD' end\n"
                      "redis.call('SREM', KEYS[1], ARGV[1])\n"
                      "return 'OK'\n",

    [SCRIPT_REPLACE] = "local number = redis.call('HGET', KEYS[1], 'number') or '0'\n"
                       "if number ~= ARGV[1] then return number end\n"
                       "redis.call('HDEL', KEYS[1], 'none')\n"
                       "redis.call('HSET', KEYS[1], 'number', ARGV[2], 'value', ARGV[3])\n"
                       "return 'OK'\n",
};

const char *script_text(enum script script) {
    return texts[script];
}
