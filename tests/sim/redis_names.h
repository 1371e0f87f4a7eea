/*
 * What of hiredis is simulated goes by names of its own, so that the library itself can be linked
 * too: its reader and its formats are used as they are.
 */
#ifndef SLUICE_TESTS_SIM_REDIS_NAMES_H
#define SLUICE_TESTS_SIM_REDIS_NAMES_H

#define redisAsyncConnect sim_redisAsyncConnect
#define redisAsyncConnectUnix sim_redisAsyncConnectUnix
#define redisAsyncFree sim_redisAsyncFree
#define redisAsyncCommand sim_redisAsyncCommand
#define redisAsyncCommandArgv sim_redisAsyncCommandArgv
#define redisAsyncFormattedCommand sim_redisAsyncFormattedCommand
#define redisAsyncHandleWrite sim_redisAsyncHandleWrite
#define redisAsyncSetConnectCallback sim_redisAsyncSetConnectCallback
#define redisEnableKeepAlive sim_redisEnableKeepAlive

#endif
