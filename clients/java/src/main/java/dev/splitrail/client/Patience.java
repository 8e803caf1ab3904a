package dev.splitrail.client;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/**
 * How a watch meets interruptions.
 *
 * @param silence how long a stream may say nothing before it is dropped and opened again (services send something at
 *     least every 15 s)
 * @param firstPause the pause before a stream is opened again doubles from this one, with jitter
 * @param longestPause to this one
 * @param giveUp how long no message at all may come, over all tries, before the watch ends with the last error
 */
public record Patience(Duration silence, Duration firstPause, Duration longestPause, Duration giveUp) {
  /** 30 s, 0.1 s, 5 s, 5 min. */
  public static final Patience DEFAULT =
      new Patience(Duration.ofSeconds(30), Duration.ofMillis(100), Duration.ofSeconds(5), Duration.ofMinutes(5));

  /** The pause after so many tries. */
  Duration pause(int tries) {
    long longest = Math.min(longestPause.toNanos(), firstPause.toNanos() << Math.min(tries, 10));
    return Duration.ofNanos(longest / 2 + ThreadLocalRandom.current().nextLong(longest / 2 + 1));
  }
}
