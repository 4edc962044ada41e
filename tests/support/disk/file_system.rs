//! The disk as the system sees it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::model::{Change, File, Inode, Model};
use super::{DiskFault, MissingSync};

/// The system may keep nothing that it was told: it asks again each time.
const NOW: Duration = Duration::ZERO;
const BLOCK_BYTES: u32 = 4096;

/// What is plugged in.
#[derive(Debug, Default)]
pub(super) struct Platter {
    pub(super) model: Model,
    pub(super) has_power: bool,
    pub(super) fault: Option<DiskFault>,
    pub(super) missing_sync: Option<MissingSync>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Platter>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name, what has it and of what kind that is.
type Entry = (OsString, u64, FileType);

#[derive(Debug, Default)]
pub(super) struct FileSystem {
    pub(super) shared: Shared,
    last_handle: AtomicU64,
    /// Of folders that are being read: their entries at the beginning, whatever is removed meanwhile.
    listings: Mutex<HashMap<u64, Vec<Entry>>>,
}

impl Platter {
    fn check(&self) -> Result<(), Errno> {
        if self.has_power { Ok(()) } else { Err(Errno::EIO) }
    }

    /// Before a change that needs `more` bytes.
    fn check_change(&self, more: u64) -> Result<(), Errno> {
        self.check()?;
        match self.fault {
            Some(DiskFault::ReadOnly) => Err(Errno::EROFS),
            Some(DiskFault::FailsToWrite) => Err(Errno::EIO),
            Some(DiskFault::Full { bytes }) if more > 0 && self.model.bytes() + more > bytes => {
                Err(Errno::ENOSPC)
            }
            Some(DiskFault::Full { .. } | DiskFault::FailsToSync | DiskFault::FailsToOpen { .. }) | None => {
                Ok(())
            }
        }
    }

    /// Before a file is opened.
    fn check_open(&self, inode: u64) -> Result<(), Errno> {
        self.check()?;
        match self.fault {
            Some(DiskFault::FailsToOpen { name, error })
                if name.is_none_or(|name| self.model.is_named(inode, name)) =>
            {
                Err(Errno::from_i32(error))
            }
            _ => Ok(()),
        }
    }

    fn attributes(&self, inode: u64) -> Result<FileAttr, Errno> {
        self.check()?;
        let (kind, size) = match self.model.node(inode).ok_or(Errno::ENOENT)? {
            Inode::Folder => (FileType::Directory, 0),
            Inode::File(file) => (FileType::RegularFile, file.bytes.len() as u64),
        };
        Ok(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: if kind == FileType::Directory { 0o700 } else { 0o600 },
            nlink: 1,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        })
    }

    fn lookup(&self, folder: u64, name: &OsStr) -> Result<FileAttr, Errno> {
        self.check()?;
        self.attributes(self.model.find(folder, name).ok_or(Errno::ENOENT)?)
    }

    fn make(&mut self, folder: u64, name: &OsStr, node: Inode) -> Result<FileAttr, Errno> {
        self.check_change(1)?;
        if self.model.find(folder, name).is_some() {
            return Err(Errno::EEXIST);
        }
        let inode = self.model.create(folder, name, node);
        self.attributes(inode)
    }

    fn remove(&mut self, folder: u64, name: &OsStr) -> Result<(), Errno> {
        self.check_change(0)?;
        let inode = self.model.find(folder, name).ok_or(Errno::ENOENT)?;
        if !self.model.entries(inode).is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.model.remove(folder, name);
        Ok(())
    }

    fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        self.check_change(0)?;
        if let Some(there) = self.model.find(to.0, to.1)
            && !self.model.entries(there).is_empty()
        {
            return Err(Errno::ENOTEMPTY);
        }
        self.model.find(from.0, from.1).ok_or(Errno::ENOENT)?;
        self.model.rename((from.0, from.1.to_owned()), (to.0, to.1.to_owned()));
        Ok(())
    }

    fn set_len(&mut self, inode: u64, bytes: u64) -> Result<(), Errno> {
        let now = self.attributes(inode)?.size;
        self.check_change(bytes.saturating_sub(now))?;
        let bytes = usize::try_from(bytes).map_err(|_| Errno::EFBIG)?;
        if self.model.change(inode, Change::Length(bytes)) { Ok(()) } else { Err(Errno::EISDIR) }
    }

    fn write(&mut self, inode: u64, at: u64, bytes: &[u8]) -> Result<u32, Errno> {
        let now = self.attributes(inode)?.size;
        self.check_change((at + bytes.len() as u64).saturating_sub(now))?;
        let at = usize::try_from(at).map_err(|_| Errno::EFBIG)?;
        if !self.model.change(inode, Change::Write { at, bytes: bytes.to_vec() }) {
            return Err(Errno::EISDIR);
        }
        u32::try_from(bytes.len()).map_err(|_| Errno::EINVAL)
    }

    fn sync(&mut self, inode: u64) -> Result<(), Errno> {
        self.check()?;
        let fault = self.fault;
        let file = self.model.file(inode).ok_or(Errno::ENOENT)?;
        if matches!(fault, Some(DiskFault::FailsToSync | DiskFault::FailsToWrite)) {
            file.lose();
            return Err(Errno::EIO);
        }
        file.sync();
        Ok(())
    }
}

impl FileSystem {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.shared.lock()
    }

    fn handle(&self) -> FileHandle {
        FileHandle(self.last_handle.fetch_add(1, Ordering::Relaxed))
    }
}

fn answer(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn answer_entry(reply: ReplyEntry, found: Result<FileAttr, Errno>) {
    match found {
        Ok(attributes) => reply.entry(&NOW, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for FileSystem {
    fn lookup(&self, _: &Request, folder: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(reply, self.platter().lookup(folder.0, name));
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.platter().attributes(inode.0) {
            Ok(attributes) => reply.attr(&NOW, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        bytes: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut platter = self.platter();
        let done = bytes.map_or(Ok(()), |bytes| platter.set_len(inode.0, bytes));
        match done.and_then(|()| platter.attributes(inode.0)) {
            Ok(attributes) => reply.attr(&NOW, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, folder: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        answer_entry(reply, self.platter().make(folder.0, name, Inode::Folder));
    }

    fn create(&self, _: &Request, folder: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        match self.platter().make(folder.0, name, Inode::File(File::default())) {
            Ok(attributes) => {
                reply.created(&NOW, &attributes, Generation(0), self.handle(), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, folder: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.platter().remove(folder.0, name));
    }

    fn rmdir(&self, _: &Request, folder: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.platter().remove(folder.0, name));
    }

    fn rename(
        &self,
        _: &Request,
        folder: INodeNo,
        name: &OsStr,
        to_folder: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.is_empty() {
            answer(reply, self.platter().rename((folder.0, name), (to_folder.0, to_name)));
        } else {
            reply.error(Errno::EINVAL);
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.platter().check_open(inode.0) {
            Ok(()) => reply.opened(self.handle(), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        at: u64,
        bytes: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut platter = self.platter();
        if let Err(error) = platter.check() {
            return reply.error(error);
        }
        match platter.model.file(inode.0) {
            Some(file) => {
                let end = file.bytes.len();
                let from = usize::try_from(at).map_or(end, |at| at.min(end));
                let until = end.min(from.saturating_add(bytes as usize));
                reply.data(&file.bytes[from..until]);
            }
            None => reply.error(Errno::EISDIR),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        at: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.platter().write(inode.0, at, bytes) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut platter = self.platter();
        match platter.missing_sync {
            Some(MissingSync::SkipsFile(name)) if platter.model.is_named(inode.0, name) => {
                answer(reply, platter.check());
            }
            Some(MissingSync::SyncsLate(delay)) => {
                answer(reply, platter.check());
                let shared = self.shared.clone();
                thread::spawn(move || {
                    thread::sleep(delay);
                    let mut platter = shared.lock();
                    // Whatever it is called when the power has come back, it has another number.
                    let _ = platter.sync(inode.0);
                });
            }
            Some(MissingSync::SkipsFile(_) | MissingSync::SkipsFolders) | None => {
                answer(reply, platter.sync(inode.0));
            }
        }
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let platter = self.platter();
        if let Err(error) = platter.check() {
            return reply.error(error);
        }
        let entries = platter
            .model
            .entries(inode.0)
            .into_iter()
            .filter_map(|(name, inode)| Some((name, inode, platter.attributes(inode).ok()?.kind)));
        let handle = self.handle();
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        listings.insert(handle.0, entries.collect());
        reply.opened(handle, FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, from: u64, mut reply: ReplyDirectory) {
        if let Err(error) = self.platter().check() {
            return reply.error(error);
        }
        let listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = listings.get(&handle.0).map_or(&[][..], Vec::as_slice);
        for (number, (name, inode, kind)) in
            (1..).zip(entries).skip(usize::try_from(from).unwrap_or(usize::MAX))
        {
            if reply.add(INodeNo(*inode), number, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, folder: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut platter = self.platter();
        let mut done = platter.check();
        if matches!(platter.fault, Some(DiskFault::FailsToSync | DiskFault::FailsToWrite)) {
            done = Err(Errno::EIO);
        } else if platter.missing_sync != Some(MissingSync::SkipsFolders) && done.is_ok() {
            platter.model.sync_folder(folder.0);
        }
        answer(reply, done);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let platter = self.platter();
        let used = platter.model.bytes();
        let bytes = match platter.fault {
            Some(DiskFault::Full { bytes }) => bytes,
            _ => 1 << 40,
        };
        let blocks = |bytes: u64| bytes / u64::from(BLOCK_BYTES);
        let free = blocks(bytes.saturating_sub(used));
        reply.statfs(blocks(bytes), free, free, 1 << 20, 1 << 20, BLOCK_BYTES, 255, BLOCK_BYTES);
    }
}
