package dev.splitrail.client;

import com.google.protobuf.ByteString;
import dev.splitrail.split.v1.SourceFile;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/** What of a folder is sent, with its hashes. */
final class FolderScan {
  private static final Set<String> IMAGES = Set.of("jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff");
  private static final Set<String> ANNOTATIONS = Set.of("txt", "xml", "json", "yaml", "yml", "names", "labels");
  private static final int MAX_INLINE_BYTES = 16384;

  private FolderScan() {}

  /**
   * Every image and annotation file by path; small annotation files with their content.
   *
   * @throws IOException when one cannot be read, or no image is there
   */
  static List<SourceFile> scan(Path folder) throws IOException {
    List<Path> paths = new ArrayList<>();
    Files.walkFileTree(
        folder,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult preVisitDirectory(Path inner, BasicFileAttributes attributes) {
            boolean hidden = !inner.equals(folder) && isHidden(inner);
            return hidden ? FileVisitResult.SKIP_SUBTREE : FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) {
            String ending = ending(file);
            boolean wanted = IMAGES.contains(ending) || ANNOTATIONS.contains(ending);
            if (attributes.isRegularFile() && !isHidden(file) && wanted) {
              paths.add(file);
            }
            return FileVisitResult.CONTINUE;
          }
        });
    if (paths.stream().noneMatch(path -> IMAGES.contains(ending(path)))) {
      throw new IOException(folder + " holds no image (looked for " + String.join(", ", IMAGES) + ")");
    }
    List<SourceFile> files = new ArrayList<>();
    for (Path path : paths) {
      files.add(read(folder, path));
    }
    files.sort(Comparator.comparing(SourceFile::getPath));
    return files;
  }

  private static SourceFile read(Path folder, Path path) throws IOException {
    MessageDigest digest = sha256();
    SourceFile.Builder file = SourceFile.newBuilder();
    long size = Files.size(path);
    try (InputStream stream = new DigestInputStream(Files.newInputStream(path), digest)) {
      if (ANNOTATIONS.contains(ending(path)) && size <= MAX_INLINE_BYTES) {
        ByteString content = ByteString.readFrom(stream);
        size = content.size();
        file.setContent(content);
      } else {
        size = stream.transferTo(OutputStream.nullOutputStream());
      }
    }
    return file.setPath(folder.relativize(path).toString().replace(path.getFileSystem().getSeparator(), "/"))
        .setSha256(HexFormat.of().formatHex(digest.digest()))
        .setSizeBytes(size)
        .build();
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has SHA-256", e);
    }
  }

  private static boolean isHidden(Path path) {
    return path.getFileName().toString().startsWith(".");
  }

  private static String ending(Path path) {
    String name = path.getFileName().toString().toLowerCase(Locale.ROOT);
    return name.substring(name.lastIndexOf('.') + 1);
  }
}
