/* The C client that ours are compared with: librabbitmq, a window of unconfirmed messages, or a consumer.
 *
 * client publish|consume PORT MESSAGES WARMUP WINDOW QUEUE EXCHANGE ROUTING_KEY BODY_FILE HEADERS_FILE BROKER_PID
 *
 * WINDOW is the prefetch when consuming. A line of HEADERS_FILE is a header: name, type (s text, i whole
 * number, b boolean) and value, with tabs between. Writes one line of JSON, as all workers do. */

#include <amqp_tcp_socket.h>
#include <amqp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MAX_HEADERS 64
#define CHANNEL 1

struct figures {
  double wall, cpu, broker_cpu;
};

static amqp_connection_state_t connection;
static long broker_pid;

static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

static void check(int status, const char *what) {
  if (status < 0) fail("%s: %s", what, amqp_error_string2(status));
}

static void check_reply(const char *what) {
  amqp_rpc_reply_t reply = amqp_get_rpc_reply(connection);
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail("%s: refused (reply type %d)", what, (int)reply.reply_type);
}

/* Measuring */

static double broker_cpu_seconds(void) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%ld/stat", broker_pid);
  FILE *file = fopen(path, "r");
  if (!file) fail("no process %ld", broker_pid);
  size_t size = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[size] = 0;
  /* The second field is the command in brackets, and may hold anything. */
  char *fields = strrchr(text, ')');
  unsigned long user, system;
  if (!fields || sscanf(fields + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
    fail("%s cannot be read", path);
  return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double seconds(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec / 1e6; }

static struct figures now(void) {
  struct timespec clock;
  struct rusage usage;
  clock_gettime(CLOCK_MONOTONIC, &clock);
  getrusage(RUSAGE_SELF, &usage);
  return (struct figures){(double)clock.tv_sec + (double)clock.tv_nsec / 1e9,
                          seconds(usage.ru_utime) + seconds(usage.ru_stime), broker_cpu_seconds()};
}

static void report(struct figures begin, struct figures end, long messages) {
  double count = (double)messages;
  printf("{\"rate\": %f, \"cpu_us\": %f, \"broker_us\": %f}\n", count / (end.wall - begin.wall),
         (end.cpu - begin.cpu) / count * 1e6, (end.broker_cpu - begin.broker_cpu) / count * 1e6);
}

/* The message */

static char *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file) fail("%s cannot be read", path);
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  char *text = malloc(*size + 1);
  if (!text || fread(text, 1, *size, file) != *size) fail("%s cannot be read", path);
  text[*size] = 0;
  fclose(file);
  return text;
}

static amqp_table_t read_headers(const char *path) {
  static amqp_table_entry_t entries[MAX_HEADERS];
  size_t size;
  int count = 0;
  char *rest = read_file(path, &size), *line;
  while ((line = strsep(&rest, "\n")) && *line) {
    char *name = strsep(&line, "\t"), *type = strsep(&line, "\t");
    if (count == MAX_HEADERS || !type || !line) fail("%s: too many headers, or a bad one", path);
    amqp_table_entry_t *entry = &entries[count++];
    entry->key = amqp_cstring_bytes(name);
    if (*type == 's') {
      entry->value.kind = AMQP_FIELD_KIND_UTF8;
      entry->value.value.bytes = amqp_cstring_bytes(line);
    } else if (*type == 'i') {
      entry->value.kind = AMQP_FIELD_KIND_I32;
      entry->value.value.i32 = atoi(line);
    } else {
      entry->value.kind = AMQP_FIELD_KIND_BOOLEAN;
      entry->value.value.boolean = atoi(line);
    }
  }
  return (amqp_table_t){count, entries};
}

/* Publishing */

static unsigned char *is_confirmed;
static uint64_t oldest = 1, sent, confirmed;

static void note_confirmed(uint64_t tag) {
  if (tag == 0 || tag > sent) fail("a confirm for nothing");
  if (!is_confirmed[tag]) {
    is_confirmed[tag] = 1;
    confirmed++;
  }
}

static void wait_for_confirm(void) {
  amqp_frame_t frame;
  amqp_maybe_release_buffers(connection);
  check(amqp_simple_wait_frame(connection, &frame), "waiting for a confirm");
  if (frame.frame_type != AMQP_FRAME_METHOD) return;
  if (frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
    fail("not a confirm but method %08x", (unsigned)frame.payload.method.id);
  amqp_basic_ack_t *ack = frame.payload.method.decoded;
  if (ack->multiple)
    for (uint64_t tag = oldest; tag <= ack->delivery_tag; tag++) note_confirmed(tag);
  note_confirmed(ack->delivery_tag);
  while (oldest <= sent && is_confirmed[oldest]) oldest++;
}

static void publish_all(uint64_t count, uint64_t window, amqp_bytes_t exchange, amqp_bytes_t routing_key,
                        amqp_bytes_t body, amqp_basic_properties_t *properties) {
  char id[40];
  for (uint64_t end = sent + count; sent < end;) {
    while (sent - confirmed >= window) wait_for_confirm();
    snprintf(id, sizeof id, "6f1c2a8e-0000-4000-8000-%012llx", (unsigned long long)sent);
    properties->message_id = amqp_cstring_bytes(id);
    sent++;
    check(amqp_basic_publish(connection, CHANNEL, exchange, routing_key, 0, 0, properties, body), "publishing");
  }
  while (confirmed < sent) wait_for_confirm();
}

static void publish(long messages, long warmup, long window, char **argv) {
  amqp_basic_properties_t properties = {0};
  properties._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG |
                      AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
                      AMQP_BASIC_PRIORITY_FLAG;
  properties.content_type = amqp_cstring_bytes("application/json");
  properties.content_encoding = amqp_cstring_bytes("utf-8");
  properties.delivery_mode = 2;
  properties.headers = read_headers(argv[10]);
  amqp_bytes_t exchange = amqp_cstring_bytes(argv[7]), routing_key = amqp_cstring_bytes(argv[8]), body;
  body.bytes = read_file(argv[9], &body.len);

  is_confirmed = calloc((size_t)(messages + warmup) + 1, 1);
  if (!is_confirmed) fail("no memory");
  amqp_confirm_select(connection, CHANNEL);
  check_reply("confirm.select");
  publish_all((uint64_t)warmup, (uint64_t)window, exchange, routing_key, body, &properties);
  struct figures begin = now();
  publish_all((uint64_t)messages, (uint64_t)window, exchange, routing_key, body, &properties);
  report(begin, now(), messages);
}

/* Consuming */

static void consume_some(long count) {
  amqp_envelope_t envelope;
  while (count--) {
    amqp_maybe_release_buffers(connection);
    amqp_rpc_reply_t reply = amqp_consume_message(connection, &envelope, NULL, 0);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail("the consumer has ended");
    check(amqp_basic_ack(connection, CHANNEL, envelope.delivery_tag, 0), "acknowledging");
    amqp_destroy_envelope(&envelope);
  }
}

static void consume(long messages, long warmup, long prefetch, const char *queue) {
  amqp_basic_qos(connection, CHANNEL, 0, (uint16_t)prefetch, 0);
  check_reply("basic.qos");
  amqp_basic_consume(connection, CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
  check_reply("basic.consume");
  consume_some(warmup);
  struct figures begin = now();
  consume_some(messages);
  report(begin, now(), messages);
}

int main(int argc, char **argv) {
  if (argc != 12) fail("see the head of client.c");
  long messages = atol(argv[3]), warmup = atol(argv[4]), window = atol(argv[5]);
  broker_pid = atol(argv[11]);

  connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(connection);
  check(amqp_socket_open(socket, "127.0.0.1", atoi(argv[2])), "connecting");
  amqp_rpc_reply_t login =
      amqp_login(connection, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
  if (login.reply_type != AMQP_RESPONSE_NORMAL) fail("the broker does not let us in");
  amqp_channel_open(connection, CHANNEL);
  check_reply("channel.open");

  if (!strcmp(argv[1], "publish"))
    publish(messages, warmup, window, argv);
  else
    consume(messages, warmup, window, argv[6]);
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(connection);
  return 0;
}
