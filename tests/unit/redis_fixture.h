/* For tests of the Redis link: a link that notes what it is told, in order. */
#ifndef SLUICE_TESTS_REDIS_FIXTURE_H
#define SLUICE_TESTS_REDIS_FIXTURE_H

#include "runtime/redis_link.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/loop_wait.h"
#include "tests/unit/redis_server.h"

struct user {
    uv_loop_t loop;
    struct redis_access access;
    struct redis_link *link;
    uint64_t ups, downs, downs_when_up;
    uint64_t replies, nulls; /* with something in them, and without */
    uint64_t nulls_at_down;  /* how many had come when on_down came */
    uint64_t nulls_at_close; /* how many when a handler had closed the link */
    uint64_t sent_in_null;   /* commands accepted from within a NULL reply: must stay 0 */
    uint64_t next;           /* the number the next reply must have */
    bool out_of_order, closed;
    bool close_on_up, close_on_down, close_on_reply;
    char why[512];
    char text[512]; /* of the last reply that was text */
};

void user_open(struct user *user, const char *url, const char *password);

/* The same in another database than 0, for which the URL of a local socket has no place. */
void user_open_database(struct user *user, const char *url, int database);

/* Closes the link if it is open; runs the loop dry and checks that nothing is left. */
void user_close(struct user *user);
void user_link_close(struct user *user);

/* Sends words, the last of them NULL; false if the link is down. */
bool user_send(struct user *user, ...);

/* ECHO with a number: numbers must come back in the order of their sending. */
bool user_send_number(struct user *user, uint64_t number);

void user_wait(struct user *user, const uint64_t *counter, uint64_t least);

#endif
